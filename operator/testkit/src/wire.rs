//! What goes over a connection, counted: headers and bodies, both directions.
//!
//! A listener that counts is put under a fake server, so that a test can say what a question costs in bytes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A count of bytes.
#[derive(Debug, Default)]
pub struct Wire(AtomicU64);

impl Wire {
    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, n_bytes: usize) {
        self.0.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }

    fn take_back(&self, n_bytes: usize) {
        self.0.fetch_sub(n_bytes as u64, Ordering::Relaxed);
    }
}

/// A listener or a connection that counts.
#[derive(Debug)]
pub struct Counted<T> {
    inner: T,
    wire: Arc<Wire>,
}

impl<T> Counted<T> {
    /// Counts what goes through `inner`.
    pub fn new(inner: T, wire: Arc<Wire>) -> Self {
        Self { inner, wire }
    }
}

impl Listener for Counted<TcpListener> {
    type Io = Counted<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.inner).await;
        (Counted::new(stream, Arc::clone(&self.wire)), address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

impl AsyncRead for Counted<TcpStream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.wire.add(buffer.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Counted<TcpStream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        // Counted before it is sent: who has received an answer then finds all of it counted.
        self.wire.add(bytes.len());
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        let n_sent = if let Poll::Ready(Ok(n_bytes)) = &polled { *n_bytes } else { 0 };
        self.wire.take_back(bytes.len() - n_sent);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
