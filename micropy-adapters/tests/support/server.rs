//! Servers that fail, and lines to real ones that do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A port nobody listens at.
pub async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A server that never says a word. It stays until the test ends.
pub async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    address
}

/// A line to a server, which can be cut.
pub struct Line {
    pub address: SocketAddr,
    cut: Arc<AtomicBool>,
    calls: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Line {
    pub async fn to(server: SocketAddr) -> Self {
        Self::at("127.0.0.1:0", server).await
    }

    /// One that begins at this address.
    pub async fn at(address: &str, server: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let line = Line {
            address: listener.local_addr().unwrap(),
            cut: Arc::default(),
            calls: Arc::default(),
        };
        let (cut, calls) = (line.cut.clone(), line.calls.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                calls.lock().unwrap().push(tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    let _ = near.shutdown().await;
                }));
            }
        });
        line
    }

    /// Drops all connections, and those that come.
    pub async fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        for call in calls {
            call.abort();
            let _ = call.await;
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}
