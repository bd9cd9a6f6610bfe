//! The route table.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder, Schema, Server};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::session::{COOKIE_NAME, HOST_COOKIE_NAME};
use super::{
    Shared, accounts, archive, compat, download, events, export, imports, jobs, mails, operation,
    peaks, sound, tokens, tus, uploads, webhooks,
};
use crate::auth;

/// Bytes of a JSON body. Uploads have limits of their own.
const MAX_JSON: usize = 64 * 1024;

const JSON: &str = "application/json";

/// The viewer's files come from this server. It shows pictures that are `data:`, and sets styles of elements.
const VIEWER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The responses of every route that needs a session.
const SESSION_PROBLEMS: [(StatusCode, &str); 3] = [
    (
        StatusCode::UNAUTHORIZED,
        "No token, or one that is not valid",
    ),
    (
        StatusCode::FORBIDDEN,
        "The token does not allow to use the service",
    ),
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "A backend is unavailable; see Retry-After",
    ),
];

/// All routes of the gateway.
pub fn router(gateway: Shared) -> Router {
    let (v1, mut openapi) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(accounts::register))
        .routes(routes!(accounts::login))
        .routes(routes!(accounts::refresh))
        .routes(routes!(accounts::logout))
        .routes(routes!(accounts::change_password))
        .routes(routes!(accounts::remove))
        .routes(routes!(accounts::me))
        .routes(routes!(mails::forgotten))
        .routes(routes!(mails::reset))
        .routes(routes!(mails::confirm))
        .routes(routes!(mails::confirmation))
        .routes(routes!(tokens::list, tokens::add))
        .routes(routes!(tokens::remove))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::resend))
        .routes(routes!(export::export))
        .routes(routes!(uploads::upload))
        .routes(routes!(imports::import))
        .routes(routes!(tus::options, tus::create))
        .routes(routes!(tus::head, tus::patch, tus::delete))
        .routes(routes!(sound::sound))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::show, jobs::delete))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(download::mp3))
        .routes(routes!(peaks::peaks))
        .routes(routes!(events::events))
        .routes(routes!(archive::archive))
        .routes(routes!(operation::about))
        .routes(routes!(operation::healthz))
        .split_for_parts();
    describe(&mut openapi);
    if !gateway.base.is_empty() {
        openapi.servers = Some(vec![Server::new(&*gateway.base)]);
    }
    let document = gateway.url(format_args!("/api/v1/openapi.json"));

    let originals = Router::new()
        .route("/login", post(auth::login))
        .route("/upload", post(compat::upload))
        .route("/download", get(compat::download));

    let viewer: Router = SwaggerUi::new("/api/docs")
        .config(Config::new([document]))
        .into();
    // The viewer would write it anew for each client, however slowly that reads. Plain structs always serialise.
    let openapi = serde_json::to_string(&openapi).unwrap_or_else(|e| unreachable!("{e}"));
    let openapi = Bytes::from(openapi);
    let viewer = viewer.route(
        "/api/v1/openapi.json",
        get(async move || ([(CONTENT_TYPE, JSON)], openapi.clone())),
    );

    Router::new()
        .merge(v1)
        .merge(originals)
        .with_state(gateway)
        // Tokens, and what is nobody else's: what may be kept says so itself.
        .layer(header("cache-control", "no-store"))
        .merge(viewer.layer(header("content-security-policy", VIEWER_POLICY)))
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("referrer-policy", "same-origin"))
        .layer(header("x-frame-options", "DENY"))
        .layer(CatchPanicLayer::new())
}

fn header(name: &'static str, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    let name = HeaderName::from_static(name);
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// Adds to the document what all routes have in common.
///
/// Errors are problem details. Routes that need a session can refuse one. A parameter is never null. Every response
/// needs a description (OpenAPI 3.1.0, section 4.8.17): the default is that of its status.
fn describe(openapi: &mut utoipa::openapi::OpenApi) {
    for path in openapi.paths.paths.values_mut() {
        let operations = [
            &mut path.get,
            &mut path.post,
            &mut path.delete,
            &mut path.options,
            &mut path.head,
            &mut path.patch,
        ];
        for operation in operations.into_iter().flatten() {
            for parameter in operation.parameters.iter_mut().flatten() {
                never_null(parameter);
            }
            let responses = &mut operation.responses.responses;
            if operation.security.is_none() {
                for (status, why) in SESSION_PROBLEMS {
                    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
                    let refusal = ResponseBuilder::new().description(why);
                    let refusal = refusal.content(JSON, problem).build();
                    let status = status.as_str().to_owned();
                    responses.entry(status).or_insert(refusal.into());
                }
            }
            for (status, response) in responses {
                let status = StatusCode::from_bytes(status.as_bytes());
                let (Ok(status), RefOr::T(response)) = (status, response) else {
                    continue;
                };
                if response.description.is_empty() {
                    response.description = status.canonical_reason().unwrap_or("Problem").into();
                }
                let is_error = status.is_client_error() || status.is_server_error();
                if let Some(problem) = is_error
                    .then(|| response.content.swap_remove(JSON))
                    .flatten()
                {
                    let kind = "application/problem+json".into();
                    response.content.insert(kind, problem);
                }
            }
        }
    }
}

/// A parameter is present or absent; `null` would be a string of four letters.
fn never_null(parameter: &mut RefOr<Parameter>) {
    if let RefOr::T(parameter) = parameter
        && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
        && let SchemaType::Array(types) = &mut schema.schema_type
    {
        types.retain(|kind| *kind != Type::Null);
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Micropy",
        description = "MP4 video to MP3 audio. Sign in for a token, upload videos, watch their jobs, \
                       download the MP3s. Errors are problem details (RFC 9457).",
    ),
    modifiers(&Security),
    security(("token" = []), ("cookie" = [])),
    tags(
        (name = "accounts", description = "Register, sign in and out"),
        (name = "uploads", description = "Send videos in one request, or resumably (tus 1.0)"),
        (name = "jobs", description = "Follow conversions and get their MP3s"),
        (name = "webhooks", description = "Have your programs told of jobs"),
        (name = "operation", description = "Run the service"),
    )
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", token);
        let name = format!("Over HTTPS, its name is `{HOST_COOKIE_NAME}`.");
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description(COOKIE_NAME.to_owned(), name));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
    }
}
