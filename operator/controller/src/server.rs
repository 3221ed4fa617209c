//! `/health`, `/ready` and `/metrics`. Health is the process; ready is whether the policies can be watched, and says why not.

use std::sync::Arc;
use std::sync::RwLock;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// Whether the operator can do its work; the text says why not.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<RwLock<Result<(), String>>>);

impl Readiness {
    /// Not ready yet, and why.
    #[must_use]
    pub fn waiting(why: &str) -> Self {
        Self(Arc::new(RwLock::new(Err(why.to_owned()))))
    }

    /// Sets the state.
    pub fn set(&self, state: Result<(), String>) {
        if let Ok(mut current) = self.0.write() {
            *current = state;
        }
    }

    fn get(&self) -> Result<(), String> {
        self.0.read().map_or_else(|_| Err("unknown".to_owned()), |state| state.clone())
    }
}

/// Serves until the listener is dropped with the task.
///
/// # Errors
/// Where the socket fails.
pub async fn serve(listener: TcpListener, readiness: Readiness, registry: Registry) -> std::io::Result<()> {
    let registry = Arc::new(registry);
    let router = Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready).with_state(readiness))
        .route("/metrics", get(metrics).with_state(registry));
    axum::serve(listener, router).await
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.get() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> (StatusCode, String) {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
