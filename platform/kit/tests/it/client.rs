use std::net::{IpAddr, SocketAddr};

use axum::{extract::FromRequestParts as _, http::HeaderMap};
use kit::http::{Client, Network, Peer, TrustedProxies, limited};

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("x-forwarded-for", value.parse().unwrap());
    }
    headers
}

/// Whom a request of `peer` with these headers counts for.
async fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let mut request = axum::http::Request::new(());
    *request.headers_mut() = headers.clone();
    let extensions = request.extensions_mut();
    extensions.insert(Peer(SocketAddr::new(peer, 1)));
    extensions.insert(TrustedProxies::from(trusted.to_vec()));
    let (mut parts, ()) = request.into_parts();
    let Ok(Client(address)) = Client::from_request_parts(&mut parts, &()).await;
    address
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// threat:T52: without a trusted proxy no header moves the key of a limit.
#[tokio::test]
async fn headers_of_strangers_mean_nothing() {
    let peer = address("203.0.113.7");
    let other: Network = "10.0.0.0/8".parse().unwrap();
    for n in 0..30 {
        let mut mix = headers(&[&format!("198.51.100.{n}"), "10.0.0.1, 127.0.0.1", ""]);
        for name in [
            "forwarded",
            "x-real-ip",
            "x-user-id",
            "true-client-ip",
            "cf-connecting-ip",
        ] {
            mix.insert(name, format!("198.51.100.{n}").parse().unwrap());
        }
        assert_eq!(client(peer, &mix, &[other]).await, peer);
        assert_eq!(client(peer, &mix, &[]).await, peer);
    }
}

/// threat:T52
#[tokio::test]
async fn the_rightmost_hop_that_is_not_ours_is_the_client() {
    let ours: [Network; 2] = ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
    let proxy = address("10.1.2.3");
    for (values, expected) in [
        (&["198.51.100.1"][..], "198.51.100.1"),
        (&["9.9.9.9, 198.51.100.1"], "198.51.100.1"),
        (&["9.9.9.9", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        (&["198.51.100.1, ::1, 10.0.0.1"], "198.51.100.1"),
        (&["198.51.100.1, ::ffff:10.0.0.1"], "198.51.100.1"),
        (&["10.0.0.2"], "10.0.0.2"),
        (&["198.51.100.1:567"], "198.51.100.1"),
        (&["198.51.100.1:567, 10.0.0.1:80"], "198.51.100.1"),
        (&["[2001:db8::1]:80"], "2001:db8::1"),
        (&["9.9.9.9, [2001:db8::1]"], "2001:db8::1"),
        (&["198.51.100.1:567, [::1]:80"], "198.51.100.1"),
        (&["9.9.9.9, [::ffff:198.51.100.1]:80"], "198.51.100.1"),
        (&["9.9.9.9, 198.51.100.1:"], "10.1.2.3"),
        (&["9.9.9.9, 198.51.100.1:66666"], "10.1.2.3"),
        (&["9.9.9.9, 198.51.100.1:a"], "10.1.2.3"),
        (&["9.9.9.9, [[::1]]"], "10.1.2.3"),
        (&["9.9.9.9, [::1"], "10.1.2.3"),
        (&["9.9.9.9, ]["], "10.1.2.3"),
        (&["9.9.9.9, unknown"], "10.1.2.3"),
        (&["9.9.9.9, nonsense"], "10.1.2.3"),
        (&["9.9.9.9, "], "10.1.2.3"),
        (&[], "10.1.2.3"),
    ] {
        assert_eq!(
            client(proxy, &headers(values), &ours).await,
            address(expected),
            "{values:?}"
        );
    }
}

#[test]
fn one_customer_is_one_key() {
    assert_eq!(
        limited(address("2001:db8:1:2:aaaa::1")),
        limited(address("2001:db8:1:2:bbbb::2"))
    );
    assert_ne!(
        limited(address("2001:db8:1:2::1")),
        limited(address("2001:db8:1:3::1"))
    );
    assert_ne!(
        limited(address("198.51.100.1")),
        limited(address("198.51.100.2"))
    );
    assert_eq!(
        limited(address("::ffff:198.51.100.1")),
        address("198.51.100.1")
    );
}

#[test]
fn a_network_is_an_address_and_a_length() {
    let network: Network = "192.0.2.128/25".parse().unwrap();
    assert!(network.contains(address("192.0.2.200")) && !network.contains(address("192.0.2.100")));
    assert!(
        "0.0.0.0/0"
            .parse::<Network>()
            .unwrap()
            .contains(address("8.8.8.8"))
    );
    assert!(
        !"::/0"
            .parse::<Network>()
            .unwrap()
            .contains(address("8.8.8.8"))
    );
    for wrong in [
        "",
        "10.0.0.0/33",
        "::/129",
        "10.0.0/8",
        "10.0.0.0/x",
        "example.org",
    ] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
}
