//! A bucket: files go in as objects, a part at a time.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{ClientConfigKey, HttpClient, HttpConnector};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig,
};
use rustls::ClientConfig;
use rustls::crypto::ring;
use thiserror::Error;
use tokio::sync::watch;

use super::{BucketFault, PART};
use crate::config::{Credentials, Remote};
use crate::export::transport::{TlsError, roots_of, roots_of_the_system};
use crate::store::file::FileFault;
use crate::store::layout::{FileId, Hour, whole_name};

/// A request may take so long: a part over a slow line.
const REQUEST: Duration = Duration::from_secs(300);

/// So long it may take until somebody answers at all.
const CONNECT: Duration = Duration::from_secs(10);

/// So long a request is tried again before the file as a whole is.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(5), base: 2.0 },
    max_retries: 3,
    retry_timeout: Duration::from_secs(60),
};

/// At the end an upload is taken back within this time, or the server has to forget it by itself.
const TAKE_BACK: Duration = Duration::from_secs(1);

/// Parts of a file at most: S3 allows 10,000.
const MOST_PARTS: u64 = 9_000;

/// What is taken from the environment of what others that speak S3 take: who we are, and the region. Where to go is ours to say.
const FROM_ENVIRONMENT: [(&str, AmazonS3ConfigKey); 11] = [
    ("AWS_DEFAULT_REGION", AmazonS3ConfigKey::DefaultRegion),
    ("AWS_REGION", AmazonS3ConfigKey::Region),
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];

/// Of them the two that are about where and not about who.
const REGIONS: usize = 2;

/// A bucket, and what stands before the names in it.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

/// Why a file has not arrived.
#[derive(Debug, Error)]
pub enum SendFault {
    /// It cannot be read here.
    #[error("{0}")]
    File(#[from] FileFault),
    /// It does not get there.
    #[error("{0}")]
    Bucket(#[from] BucketFault),
    /// The end has come before.
    #[error("stopped")]
    Stopped,
}

impl Bucket {
    /// The bucket of `remote`. Nothing is sent yet.
    ///
    /// # Errors
    /// Its keys or certificates cannot be used.
    pub fn open(remote: &Remote) -> Result<Self, BucketFault> {
        Self::open_in(remote, |name| std::env::var(name).ok())
    }

    /// The same with another environment.
    pub(super) fn open_in(remote: &Remote, environment: impl Fn(&str) -> Option<String>) -> Result<Self, BucketFault> {
        let is_plain = remote.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&remote.bucket)
            .with_retry(RETRY)
            .with_client_options(ClientOptions::new().with_allow_http(is_plain))
            .with_http_connector(Connector { tls: tls(remote.ca.as_deref())? });
        let keys_are_elsewhere = remote.credentials.is_some();
        let taken = &FROM_ENVIRONMENT[..if keys_are_elsewhere { REGIONS } else { FROM_ENVIRONMENT.len() }];
        for (name, key) in taken {
            if let Some(value) = environment(name).filter(|value| !value.is_empty()) {
                builder = builder.with_config(*key, value);
            }
        }
        if let Some(path) = &remote.credentials {
            let Credentials { key_id, secret, token } = Credentials::read(path)?;
            builder = builder.with_access_key_id(key_id).with_secret_access_key(secret);
            if let Some(token) = token {
                builder = builder.with_token(token);
            }
        }
        if let Some(region) = &remote.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &remote.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| refused(&error))?;
        Ok(Self { store: Arc::new(store), prefix: remote.prefix.clone() })
    }

    /// One for tests.
    #[cfg(test)]
    pub(super) fn of(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned() }
    }

    /// The name of an hour's object, by the first file that the hour had.
    #[must_use]
    pub fn key(&self, hour: Hour, first: &FileId) -> Key {
        let folders = self.prefix.split('/').filter(|folder| !folder.is_empty());
        let folders = folders.map(str::to_owned).chain(["flows".to_owned(), hour.to_string(), whole_name(first)]);
        Key::from(folders.collect::<Vec<_>>().join("/"))
    }

    /// Puts a file under this name, in place of what had it: after this it is there as a whole, before it is not there at all.
    /// Returns how many octets it has.
    ///
    /// # Errors
    /// It cannot be read, or does not get there, or `stop` was set before.
    pub async fn put(&self, key: &Key, path: &Path, stop: &mut watch::Receiver<bool>) -> Result<u64, SendFault> {
        let io = FileFault::io(path);
        let mut file = File::open(path).map_err(&io)?;
        let octets = file.metadata().map_err(&io)?.len();
        let mut upload = None;
        let sent = tokio::select! {
            sent = self.send(key, &mut file, path, octets, &mut upload) => sent,
            _ = stop.wait_for(|stop| *stop) => Err(SendFault::Stopped),
        };
        if let (Err(_), Some(mut upload)) = (&sent, upload) {
            // Else its parts stay with the server for ever, unseen and paid for.
            let _ = tokio::time::timeout(TAKE_BACK, upload.abort()).await;
        }
        sent.map(|()| octets)
    }

    /// Sends a file as a whole, or as an upload of several parts where it is long.
    async fn send(
        &self,
        key: &Key,
        file: &mut File,
        path: &Path,
        octets: u64,
        upload: &mut Option<Box<dyn MultipartUpload>>,
    ) -> Result<(), SendFault> {
        if octets <= PART {
            let payload = next(file, PART).map_err(FileFault::io(path))?;
            self.store.put(key, payload).await.map_err(|error| refused(&error))?;
            return Ok(());
        }
        let upload = upload.insert(self.store.put_multipart(key).await.map_err(|error| refused(&error))?);
        let part = PART.max(octets.div_ceil(MOST_PARTS));
        loop {
            let payload = next(file, part).map_err(FileFault::io(path))?;
            if payload.content_length() == 0 {
                break;
            }
            upload.put_part(payload).await.map_err(|error| refused(&error))?;
        }
        upload.complete().await.map_err(|error| refused(&error))?;
        Ok(())
    }
}

/// The next so many octets of a file, or what is left of it.
fn next(file: &mut File, octets: u64) -> io::Result<PutPayload> {
    let mut part = Vec::new();
    file.take(octets).read_to_end(&mut part)?;
    Ok(part.into())
}

/// Whom the other side has to be known to.
fn tls(ca: Option<&Path>) -> Result<ClientConfig, BucketFault> {
    let roots = ca.map_or_else(roots_of_the_system, roots_of).map_err(|error| BucketFault::Tls(Box::new(error)))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| BucketFault::Tls(Box::new(TlsError::Settings(error))))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Makes clients that speak TLS as the rest of flowprobe does.
#[derive(Debug)]
struct Connector {
    tls: ClientConfig,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let may_be_plain = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let client = reqwest::Client::builder()
            .user_agent(concat!("flowprobe/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(self.tls.clone())
            .https_only(!may_be_plain)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .build();
        let client = client.map_err(|error| object_store::Error::Generic { store: "HTTP", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}

/// Where clouds give machines their keys. Nobody asks there where keys were given.
const KEYS_OF_THE_MACHINE: &str = "169.254.169.254";

/// What was said, in a line.
fn refused(error: &object_store::Error) -> BucketFault {
    let (whole, mut said) = (error.to_string(), error.to_string());
    let mut inner = error.source();
    while let Some(cause) = inner {
        said = cause.to_string();
        inner = cause.source();
    }
    if let Some(code) = tagged(&said, "Code") {
        said = tagged(&said, "Message").map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"));
    }
    if whole.contains(KEYS_OF_THE_MACHINE) {
        said =
            format!("there are no keys in the environment, and none of the machine at {KEYS_OF_THE_MACHINE}: {said}");
    }
    let line: Vec<&str> = said.split_whitespace().collect();
    BucketFault::Refused { said: line.join(" ").chars().take(MOST_SAID).collect() }
}

/// Characters of what was said at most: a server may say a page.
const MOST_SAID: usize = 300;

/// What stands in an element of XML.
fn tagged<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}
