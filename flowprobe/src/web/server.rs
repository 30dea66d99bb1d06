//! Accepts connections, few at a time and each for a bounded time, and hands requests to whoever answers them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::guard::{Guard, pass, refusal};
use super::live::Live;
use super::{api, assets};
use crate::config::WebConfig;
use crate::detect::Board;
use crate::enrich::Enricher;
use crate::query::Pool;
use crate::status::{Snapshot, Watched, exposition};
use crate::store::Shelf;

/// How long an answer from history may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Connections at a time; one more is told so and closed.
const CONNECTIONS: usize = 256;

/// How long a client may take for the lines of a request, or for TLS before it; so long it may also stay connected without asking.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may take nothing of an answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Octets of the lines of a request at most.
const LONGEST_HEAD: usize = 32 << 10;

/// What whoever is one too many gets.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What the server knows of the rest of the daemon.
pub struct WebState {
    watched: Watched,
    live: Arc<Live>,
    /// What was found, where it is looked for.
    board: Option<Board>,
    /// Whose turn it is to look at the live view.
    viewing: Semaphore,
}

impl WebState {
    /// Answers from this.
    #[must_use]
    pub fn new(watched: Watched, live: Arc<Live>, board: Option<Board>) -> Self {
        Self { watched, live, board, viewing: Semaphore::new(1) }
    }

    pub(super) const fn board(&self) -> Option<&Board> {
        self.board.as_ref()
    }

    /// History, if it is kept, and where questions to it are taken in.
    pub(super) fn history(&self) -> Option<(Arc<Shelf>, Pool)> {
        self.watched.history()
    }

    /// Who made a network card, by what is known now.
    pub(super) fn vendor(&self, mac: u64) -> Option<Arc<str>> {
        Enricher::new(&self.watched.enrichment()?).vendor(mac)
    }

    pub(super) const fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(super) const fn viewing(&self) -> &Semaphore {
        &self.viewing
    }

    /// The state after the last drain; none before the first.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.watched.snapshot()
    }
}

/// A listening socket.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    guard: Arc<Guard>,
    url: String,
}

impl Server {
    /// Listens as configured. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be had, or certificate and key not be used any more.
    pub fn bind(address: SocketAddr, config: &WebConfig) -> io::Result<Self> {
        let tls = match &config.tls {
            Some(files) => {
                let server = files.server().map_err(io::Error::other)?;
                Some(TlsAcceptor::from(Arc::clone(server.config())))
            }
            None => None,
        };
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // What a daemon before this one has left in the kernel is no reason to wait.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(CONNECTIONS.try_into().unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket.into())?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let token = config.token.as_ref().map(|(_, token)| token.clone());
        Ok(Self { listener, tls, guard: Arc::new(Guard::new(token, &config.names)), url })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers until it is dropped.
    pub async fn run(self, state: WebState) {
        let Self { listener, tls, guard, .. } = self;
        let (router, open) = (router(state, guard), Arc::new(Semaphore::new(CONNECTIONS)));
        loop {
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                // Such as too many open files: it may pass.
                Err(error) => {
                    debug!("the dashboard's socket: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let Ok(is_open) = Arc::clone(&open).try_acquire_owned() else {
                if tls.is_none() {
                    // As much as the kernel takes at once.
                    let _ = client.try_write(TOO_MANY);
                }
                continue;
            };
            let (router, tls) = (router.clone(), tls.clone());
            tokio::spawn(async move {
                let _is_open = is_open;
                serve(client, tls, router).await;
            });
        }
    }
}

async fn serve(client: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    // Answers are written whole.
    let _ = client.set_nodelay(true);
    match tls {
        None => answer(client, router).await,
        Some(tls) => match tokio::time::timeout(HEAD_PATIENCE, tls.accept(client)).await {
            Ok(Ok(session)) => answer(session, router).await,
            Ok(Err(error)) => debug!("a client of the dashboard: {error}"),
            Err(_) => debug!("a client of the dashboard takes too long for TLS"),
        },
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite, router: Router) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PATIENCE));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        debug!("a client of the dashboard: {error}");
    }
}

/// Paths of pages: of each the one file, whose scripts show what belongs there.
const PAGES: [&str; 11] = [
    "/",
    "/hosts",
    "/hosts/{address}",
    "/ports",
    "/conversations",
    "/records",
    "/places",
    "/interfaces",
    "/findings",
    "/findings/{id}",
    "/live",
];

fn router(state: WebState, guard: Arc<Guard>) -> Router {
    let mut router = Router::new()
        .nest("/api", api::router())
        .route("/assets/{*name}", get(asset))
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .fallback(no_page);
    for path in PAGES {
        router = router.route(path, get(page));
    }
    router.layer(from_fn_with_state(guard, pass)).with_state(Arc::new(state))
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let missing = || refusal(StatusCode::NOT_FOUND, "there is no such file", None);
    assets::answer(&name, &headers).unwrap_or_else(missing)
}

async fn page(headers: HeaderMap) -> Response {
    let missing = || refusal(StatusCode::NOT_FOUND, "this build has no pages", None);
    assets::answer("index.html", &headers).unwrap_or_else(missing)
}

/// Somebody who looks gets a page that says so, everybody else a line.
async fn no_page(headers: HeaderMap, uri: Uri) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        let mut response = page(headers).await;
        if response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        return response;
    }
    refusal(StatusCode::NOT_FOUND, &format!("there is no {} here", uri.path()), None)
}

/// The metrics, in the format that is asked for.
async fn metrics(State(state): State<Arc<WebState>>, headers: HeaderMap) -> Response {
    let Some(snapshot) = state.snapshot() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "there was no drain yet", None);
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let (content_type, text) = exposition(&snapshot, accept);
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
}

/// The process lives.
async fn alive() -> Response {
    "alive\n".into_response()
}

/// Flows are taken out of the kernel, and there are numbers to show.
async fn ready(State(state): State<Arc<WebState>>) -> Response {
    if state.watched.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the first drain is not over yet\n").into_response()
    }
}
