use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Stands between a client and the server at `host`, and returns where the client connects instead. What the server
/// sends is passed on only while `held` is false.
pub(super) async fn between(host: String, held: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let server = TcpStream::connect(host).await.expect("a server");
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a socket without delay");
        }
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::join!(pass(from_client, to_server, None), pass(from_server, to_client, Some(held)));
    });
    address.to_string()
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut held: Option<watch::Receiver<bool>>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if let Some(held) = &mut held {
            // Without the test nobody holds anything any more.
            let _ = held.wait_for(|held| !held).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
