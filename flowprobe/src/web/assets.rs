//! The files of the dashboard, which the build has compressed: `build.rs`.

use std::io::Read as _;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use flate2::read::GzDecoder;

/// A file.
struct Asset {
    name: &'static str,
    /// Its entity tag: what it is made of.
    tag: &'static str,
    /// Compressed with gzip.
    packed: &'static [u8],
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// What the file of such a name is.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// The answer with a file; nothing where there is none of that name. A browser that has it already gets told so.
pub(super) fn answer(name: &str, asked: &HeaderMap) -> Option<Response> {
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let lists = |name: header::HeaderName, wanted: &str| {
        let values = asked.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|one| one.split(';').next().unwrap_or_default().trim() == wanted)
    };
    let is_known = lists(header::IF_NONE_MATCH, asset.tag);
    let takes_gzip = lists(header::ACCEPT_ENCODING, "gzip");
    let mut response = Response::new(match (is_known, takes_gzip) {
        (true, _) => Body::empty(),
        (false, true) => Body::from(asset.packed),
        (false, false) => Body::from(unpacked(asset)),
    });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    headers.insert(header::ETAG, HeaderValue::from_static(asset.tag));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    // Asked for anew each time, and told in a line that it is still the same.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if takes_gzip && !is_known {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(response)
}

fn unpacked(asset: &Asset) -> Vec<u8> {
    let mut octets = Vec::new();
    // The build has made it.
    let _ = GzDecoder::new(asset.packed).read_to_end(&mut octets);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_there_in_both_forms_and_are_not_sent_twice() {
        let plain = answer("index.html", &HeaderMap::new()).expect("the page");
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let mut asked = HeaderMap::new();
        asked.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("br, gzip;q=0.8"));
        let packed = answer("plotly.min.js", &asked).expect("plotly");
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        let tag = packed.headers()[header::ETAG].clone();
        asked.insert(header::IF_NONE_MATCH, tag);
        assert_eq!(answer("plotly.min.js", &asked).expect("plotly").status(), StatusCode::NOT_MODIFIED);
        assert!(
            ["", "..", "../Cargo.toml", "index.htm", "/index.html"].iter().all(|name| answer(name, &asked).is_none())
        );
        assert!(ASSETS.iter().all(|asset| !unpacked(asset).is_empty()));
        // With plotly.js it is less than two megabytes in all.
        assert!(ASSETS.iter().map(|asset| asset.packed.len()).sum::<usize>() < 2 << 20);
    }

    /// What the content security policy does not let through would be missing without a word.
    #[test]
    fn pages_have_no_scripts_or_styles_inside() {
        for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".html")) {
            let text = String::from_utf8(unpacked(asset)).expect("text");
            for bad in ["<style", " style=", " onclick=", " onload=", "javascript:", "http://", "https://"] {
                assert!(!text.contains(bad), "{} has {bad}", asset.name);
            }
            assert!(
                text.matches("<script").count()
                    == text.matches("<script src=").count() + text.matches("<script type=\"module\" src=").count()
            );
        }
    }
}
