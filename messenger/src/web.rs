//! What the public listener serves besides the API: the page, the OpenAPI documents and Swagger UI.

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use kit::Fault;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::topology::Service;

/// The built page; empty but for a placeholder until `make web` was run.
#[derive(RustEmbed)]
#[folder = "../web/dist"]
struct Page;

/// Only our own scripts and styles, and no connection to anybody else (threat:T22).
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Swagger UI sets styles inline.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'";

/// The services with an HTTP interface and their documents.
pub fn openapi() -> Vec<(&'static str, utoipa::openapi::OpenApi)> {
    let documents = [
        ("auth", auth::openapi()),
        ("user", user::openapi()),
        ("chat", chat::openapi()),
        ("message", message::openapi()),
        ("ai", ai::openapi()),
    ];
    documents
        .into_iter()
        .map(|(name, document)| (name, finished(document)))
        .collect()
}

/// The paths of a service's public interface.
pub(crate) fn paths(service: Service) -> Vec<String> {
    let sockets = match service {
        Service::WsGateway => Some("/ws/v1"),
        Service::WsAiAdvice => Some("/ws/ai-advice"),
        Service::WsAutoreply => Some("/ws/autoreply"),
        _ => None,
    };
    let documents = openapi();
    let document = documents
        .into_iter()
        .find(|(name, _)| *name == service.name());
    let documented = document
        .into_iter()
        .flat_map(|(_, document)| document.paths.paths.into_keys());
    documented.chain(sockets.map(str::to_owned)).collect()
}

/// What every document has in common: the version, where it is served, and how one shows who one is.
fn finished(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    use utoipa::openapi::{
        Components, Server,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    };
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    document.servers = Some(vec![Server::new("/")]);
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme("token", SecurityScheme::Http(token));
    document
}

/// Everything here.
pub(crate) fn routes() -> Router {
    let urls = openapi()
        .iter()
        .map(|(name, _)| format!("/openapi/{name}.json"))
        .collect::<Vec<_>>();
    let config = utoipa_swagger_ui::Config::new(urls).try_it_out_enabled(true);
    let docs = Router::from(utoipa_swagger_ui::SwaggerUi::new("/docs").config(config)).layer(
        axum::middleware::map_response(|response: Response| async {
            if response.status() == StatusCode::NOT_FOUND {
                return Fault::not_found("page").into_response();
            }
            with_policy(response, DOCS_POLICY)
        }),
    );
    Router::new()
        .route(
            "/",
            get(|headers: HeaderMap| async move { page("index.html", &headers) }),
        )
        .route("/openapi/{file}", get(document))
        .route("/{*path}", any(other))
        .merge(docs)
}

async fn document(Path(file): Path<String>) -> Result<Response, Fault> {
    let name = file.strip_suffix(".json").unwrap_or(&file);
    let document = openapi().into_iter().find(|(service, _)| *service == name);
    document
        .map(|(_, document)| axum::Json(document).into_response())
        .ok_or_else(|| Fault::not_found("document"))
}

/// What the doors of a program answer, here or at the private listener; never the page.
const DOORS: [&str; 8] = [
    "api",
    "ws",
    "docs",
    "openapi",
    "metrics",
    "healthz",
    "readyz",
    "socket.io",
];

/// What no other route knows.
async fn other(Path(path): Path<String>, method: Method, headers: HeaderMap) -> Response {
    if method == Method::GET || method == Method::HEAD {
        asset(&path, &headers)
    } else {
        Fault::not_found("route").into_response()
    }
}

/// A file of the page. Whoever types an address gets the page itself, unless it is that of a door or of a file.
fn asset(path: &str, headers: &HeaderMap) -> Response {
    let is_door = DOORS.contains(&path.split('/').next().unwrap_or_default());
    if is_door || path.contains('.') || !is_navigation(headers) {
        return page(path, headers);
    }
    page("index.html", headers)
}

/// Whether a browser asks for something to show, and no script or program for data.
fn is_navigation(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accepted| accepted.to_str().ok())
        .any(|accepted| accepted.to_ascii_lowercase().contains("text/html"))
}

fn page(path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = Page::get(path) else {
        return match path {
            "index.html" => (
                StatusCode::OK,
                "The page was not built into this program: run `make web`.\n",
            )
                .into_response(),
            _ => Fault::not_found("page").into_response(),
        };
    };
    let tag = etag(&file);
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        // A browser takes the headers of this answer over into what it has kept.
        return with_policy(StatusCode::NOT_MODIFIED.into_response(), PAGE_POLICY);
    }
    // Built files carry a hash in their name and never change; the page itself is asked for each time.
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let mut response = file.data.into_owned().into_response();
    let out = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind.as_ref()),
        (header::ETAG, &tag),
        (header::CACHE_CONTROL, cache),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            out.insert(name, value);
        }
    }
    with_policy(response, PAGE_POLICY)
}

fn etag(file: &EmbeddedFile) -> String {
    let hash = u128::from_be_bytes(
        file.metadata.sha256_hash()[..16]
            .try_into()
            .expect("16 of 32 bytes"),
    );
    format!("\"{hash:032x}\"")
}

fn with_policy(mut response: Response, policy: &'static str) -> Response {
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    response
}
