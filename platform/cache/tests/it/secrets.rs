//! Addresses with passwords and with encryption.

use std::{sync::Arc, time::Duration};

use cache::Cache;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::server::{Server, eventually, open};

async fn trouble(cache: &Arc<dyn Cache>) -> String {
    let error = cache.check().await.unwrap_err();
    format!("{} {error:?}", kit::node::error_chain(&error))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_the_address_opens_the_server_and_a_wrong_one_does_not_appear_anywhere() {
    let server = Server::start_with(&["--requirepass", "open/sesame"]).await;
    let with = |login: &str| {
        open(
            &server
                .url()
                .replace("redis://", &format!("redis://{login}@")),
        )
    };
    for login in [":open%2Fsesame", "default:open%2Fsesame"] {
        with(login).check().await.unwrap();
    }
    let cache = with(":open%2Fbarley");
    eventually("the refusal is known", async || {
        let text = trouble(&cache).await;
        assert!(!text.contains("barley"), "{text}");
        text.contains("WRONGPASS") || text.contains("authentication failed")
    })
    .await;
}

/// Servers that know no greeting repeat what they were sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_password_does_not_come_back_with_the_words_of_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cache = open(&format!("redis://:sesame@{address}/1"));
    let mut answering = tokio::task::JoinSet::new();
    answering.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut sent = vec![0; 4096];
            let n = socket.read(&mut sent).await.unwrap();
            let sent = String::from_utf8_lossy(&sent[..n]).replace("\r\n", " ");
            assert!(sent.contains("sesame"), "{sent}");
            let answer = format!("-ERR unknown command, with args beginning with: {sent}\r\n");
            socket.write_all(answer.repeat(4).as_bytes()).await.unwrap();
        }
    });
    eventually("the answer is known", async || {
        let text = trouble(&cache).await;
        assert!(!text.contains("sesame"), "{text}");
        !text.contains("no connection yet")
    })
    .await;
}

/// What goes to an address of the second kind is encrypted, by the cryptography that is built in.
#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_address_is_greeted_in_tls() {
    const HANDSHAKE: [u8; 2] = [22, 3];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["rediss", "valkeys"] {
        let cache = open(&format!("{scheme}://:sesame@{address}"));
        let (mut socket, _) = tokio::time::timeout(Duration::from_secs(10), listener.accept())
            .await
            .unwrap()
            .unwrap();
        let mut begin = [0; 2];
        socket.read_exact(&mut begin).await.unwrap();
        assert_eq!(begin, HANDSHAKE);
        drop(socket);
        assert!(cache.check().await.is_err());
        drop(cache);
    }
}
