//! Waits for a condition with a deadline; a failure says what was waited for and what was seen last.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::bail;

/// What a look found.
pub enum Seen<T> {
    /// It holds.
    Yes(T),
    /// Not yet; what was seen instead.
    NotYet(String),
}

/// Looks until it holds.
pub async fn wait_until<T, F, Fut>(what: &str, deadline: Duration, mut look: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Seen<T>>>,
{
    let started = Instant::now();
    loop {
        let last = match look().await {
            Ok(Seen::Yes(found)) => return Ok(found),
            Ok(Seen::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if deadline < started.elapsed() {
            bail!("waited {} s for {what}; last seen: {last}", deadline.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
