//! The door itself: the HTTP request that becomes a socket (RFC 6455 section 4).

use std::sync::Arc;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kit::{Call, Code, Fault, http::Client};
use sha1::{Digest as _, Sha1};
use tokio::net::TcpStream;

use crate::{Hub, Service, driver::Driver, origin, protocol::Protocol};

/// A route that upgrades to a socket of `hub` with `service` behind it. Refusals are problem+json.
pub fn door<S: Service, R: Clone + Send + Sync + 'static>(
    hub: Arc<Hub>,
    service: Arc<S>,
) -> MethodRouter<R> {
    get(move |call: Call, client: Client, request: Request| {
        let (hub, service) = (hub.clone(), service.clone());
        async move {
            enter(&hub, service, &call, client, request)
                .await
                .unwrap_or_else(|refusal| refusal)
        }
    })
}

async fn enter<S: Service>(
    hub: &Arc<Hub>,
    service: Arc<S>,
    call: &Call,
    Client(client): Client,
    mut request: Request,
) -> Result<Response, Response> {
    let refuse = |reason, fault: Fault| {
        hub.metrics().refused(reason);
        fault.into_response()
    };
    if names_token(request.uri()) {
        return Err(refuse(
            "token_in_address",
            Fault::invalid("a token does not belong into an address"),
        ));
    }
    if !origin::is_allowed(request.headers(), &hub.config().origins) {
        return Err(refuse(
            "origin",
            Fault::new(Code::Forbidden, "this origin may not open sockets here"),
        ));
    }
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(refuse(
            "malformed",
            Fault::invalid("this connection cannot become a WebSocket"),
        ));
    };
    let accept = match accept_key(request.headers()) {
        Ok(accept) => accept,
        Err(fault) => return Err(with_version(refuse("malformed", fault))),
    };
    let identity = match service.token(request.headers()) {
        Some(token) => Some(
            service
                .admit(call, token)
                .await
                .map_err(|fault| refuse("bad_token", fault))?,
        ),
        None => None,
    };
    let seat = hub
        .seat_address(client)
        .map_err(IntoResponse::into_response)?;

    let hub_of_task = hub.clone();
    // In a box, like its result: the task of an idle connection keeps no room for its beginning.
    let connecting = Box::pin(async move {
        let upgraded = upgrade.await.ok()?;
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            tracing::error!("a socket came through a listener that is not ours");
            return None;
        };
        let connected = hub_of_task.connect(client);
        let protocol = Protocol::new(service, connected.0.clone(), identity, seat);
        Some(Box::new(Driver::new(
            parts.io.into_inner(),
            connected,
            protocol,
            &parts.read_buf,
        )))
    });
    hub.spawner().spawn("socket", async move {
        let driver = connecting.await;
        if let Some(driver) = driver {
            driver.await;
        }
    });
    Ok(switching_protocols(accept))
}

fn names_token(uri: &Uri) -> bool {
    let names = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split('=').next());
    names
        .map(str::to_ascii_lowercase)
        .any(|name| name.contains("token"))
}

/// Checks the head and makes the value of `Sec-WebSocket-Accept`.
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Fault> {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    if !lists(headers, &header::UPGRADE, "websocket")
        || !lists(headers, &header::CONNECTION, "upgrade")
    {
        return Err(Fault::invalid("this address speaks WebSocket").reason("upgrade_required"));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(
            Fault::invalid("only WebSocket version 13 is spoken").reason("upgrade_required")
        );
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    if STANDARD.decode(key).map_or(true, |key| key.len() != 16) {
        return Err(Fault::invalid(
            "Sec-WebSocket-Key is not 16 bytes in base64",
        ));
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).map_err(Fault::internal)
}

/// Whether a header lists `token` among its comma-separated values.
fn lists(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// A client that speaks something else is told what is spoken here.
fn with_version(mut refusal: Response) -> Response {
    if refusal.status() == StatusCode::BAD_REQUEST {
        let headers = refusal.headers_mut();
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
    }
    refusal
}

fn switching_protocols(accept: HeaderValue) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(
            header::CONNECTION,
            HeaderValue::from_static("keep-alive, Upgrade"),
        );
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
        headers.insert(
            header::SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        assert_eq!(
            accept_key(&headers).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        for (name, wrong) in [
            (header::SEC_WEBSOCKET_KEY, "c2hvcnQ="),
            (header::SEC_WEBSOCKET_VERSION, "8"),
            (header::CONNECTION, "close"),
            (header::UPGRADE, "h2c"),
        ] {
            let mut headers = headers.clone();
            headers.insert(&name, HeaderValue::from_static(wrong));
            assert!(accept_key(&headers).is_err(), "{name}");
        }
    }

    /// threat:T15: a token is not accepted in the address.
    #[test]
    fn a_token_in_the_address_is_found() {
        for (address, is_token) in [
            ("/ws/v1", false),
            ("/ws/v1?device=token", false),
            ("/ws/v1?token=x", true),
            ("/ws/v1?a=1&access_Token=x", true),
        ] {
            assert_eq!(
                names_token(&Uri::from_static(address)),
                is_token,
                "{address}"
            );
        }
    }
}
