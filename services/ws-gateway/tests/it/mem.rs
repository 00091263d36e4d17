use std::io::{Read, Write};
use serde_json::json;
use crate::world::{World, user};

fn rss() -> usize {
    let s = std::fs::read_to_string("/proc/self/statm").unwrap();
    s.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
}

fn frame(text: &str) -> Vec<u8> {
    let mut f = vec![0x81];
    let len = text.len();
    if len < 126 { f.push(0x80 | len as u8) } else { f.push(0x80 | 126); f.extend((len as u16).to_be_bytes()); }
    f.extend([0; 4]);
    f.extend(text.as_bytes());
    f
}

#[tokio::test(flavor = "multi_thread")]
async fn mem() {
    let config = ws_gateway::Config { unauthenticated_per_address: 100_000, ..Default::default() };
    let world = World::with(config).await;
    let people: Vec<_> = (1..=8000).map(user).collect();
    let chat = world.streams.create(&people);
    let address = world.address;
    let mut all = Vec::new();
    for round in 0..4 {
        let tokens: Vec<_> = people[round * 2000..][..2000].iter().map(|p| world.token(*p)).collect();
        let before = rss();
        let began = std::time::Instant::now();
        let some = tokio::task::spawn_blocking(move || {
            let mut some = Vec::new();
            for token in tokens {
                let mut s = std::net::TcpStream::connect(address).unwrap();
                s.write_all(b"GET /ws/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").unwrap();
                s.write_all(&frame(&json!({"t":"hello","d":{"proto":1,"token":token}}).to_string())).unwrap();
                s.write_all(&frame(&json!({"id":1,"t":"sub","d":{"s":format!("c:{chat}")}}).to_string())).unwrap();
                let mut buf = [0; 4096];
                let mut got = Vec::new();
                while !String::from_utf8_lossy(&got).contains("\"id\":1,\"ok\"") {
                    let n = s.read(&mut buf).unwrap();
                    assert!(n > 0, "{}", String::from_utf8_lossy(&got));
                    got.extend(&buf[..n]);
                }
                some.push(s);
            }
            some
        }).await.unwrap();
        all.extend(some);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        println!("round {round}: {} KB per socket, {:?}", (rss() - before) as f64 / 2000.0, began.elapsed());
    }
    for s in &all { s.set_nonblocking(true).unwrap(); }
    let readers = all;
    for burst in [1, 1, 1, 16, 16] {
        let cpu = cpu();
        let began = std::time::Instant::now();
        let mut last = 0;
        for _ in 0..burst { last = world.streams.post(chat, user(1), &"x".repeat(200)).await; }
        let text = format!("\"o\":{last},");
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        println!("burst {burst}: cpu {:?} us per delivery, {text} {:?}", (crate::mem::cpu() - cpu) as f64 / (8000.0 * burst as f64), began.elapsed());
        let mut buf = vec![0; 65536];
        for mut s in &readers { while let Ok(n) = s.read(&mut buf) { if n == 0 { break; } } }
    }
    println!("after bursts rss {}", rss());
}

/// us
pub fn cpu() -> u64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<_> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<u64>().unwrap() + f[12].parse::<u64>().unwrap()) * 10_000
}
