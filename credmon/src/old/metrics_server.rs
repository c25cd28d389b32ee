//! Tells the metrics by HTTP, on loopback.
//!
//! Bounded: few connections at a time, one request each, a time limit for all of it. The text is
//! made by the loop, which alone knows.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 4;

/// Limit for a whole exchange.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A server that ends when it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    task: JoinHandle<()>,
    address: SocketAddr,
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MetricsServer {
    /// Listens, and answers with what `text` gives.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start<F>(
        address: SocketAddr,
        text: impl Fn() -> F + Clone + Send + 'static,
    ) -> std::io::Result<Self>
    where
        F: Future<Output = Option<String>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, text));
        Ok(Self { task, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve<F>(listener: TcpListener, text: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = Option<String>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptors left, perhaps: a moment later there may be.
                tracing::debug!("metrics: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let text = text.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, text.clone()));
            let exchange = http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(TIME_LIMIT, exchange).await {
                tracing::debug!("metrics: {error}");
            }
            drop(permit);
        });
    }
}

async fn answer<B, F>(
    request: Request<B>,
    text: impl Fn() -> F,
) -> Result<Response<String>, Infallible>
where
    F: Future<Output = Option<String>>,
{
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match text().await {
            Some(text) => (StatusCode::OK, text),
            None => (StatusCode::SERVICE_UNAVAILABLE, "it ends\n".to_owned()),
        },
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "see /metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, plain);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_one_path_and_closes() {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let server = MetricsServer::start(loopback, || async { Some("a 1\n".to_owned()) })
            .await
            .unwrap();
        let ask = |line: &str| {
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
            let address = server.address();
            async move { get(address, &request).await }
        };
        let answer = ask("GET /metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\na 1\n"));
        assert!(ask("GET /").await.starts_with("HTTP/1.1 404"));
        assert!(ask("POST /metrics").await.starts_with("HTTP/1.1 405"));
    }
}
