//! Who may push, and where.

use crate::world::World;
use http::StatusCode;
use std::{
    io::{Read, Write},
    net::TcpStream,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_needed_and_it_must_be_for_this_app() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    let bare = format!("http://{}/git/fridge.git", world.address);
    author.git(&["push", &bare, "main"]).await.refused().says("could not read Username");
    author.git(&["push", &world.url("bad", "fridge"), "main"]).await.refused().says("Authentication failed");
    author.git(&["push", &world.url("other", "fridge"), "main"]).await.refused().says("403");
    assert!(!world.repo("fridge").exists(), "a stranger makes no repository");
    author.git(&["clone", "-q", &author.url, "x"]).await.refused().says("nothing was pushed to `fridge` yet");
    assert!(!world.repo("fridge").exists(), "neither does a reader");
    let header = "http.extraHeader=authorization: Bearer good";
    author.git(&["-c", header, "push", &bare, "main"]).await.ok().says("Live: release 1");
    author.git(&["clone", "-q", &world.url("other", "fridge"), "x"]).await.refused().says("403");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_git_protocol_is_answered() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.push().await.ok();
    for path in [
        "/git/fridge.git/HEAD",
        "/git/fridge.git/objects/info/packs",
        "/git/fridge.git/../fridge.git/config",
        "/git/",
        "/git/A%2Fb.git/info/refs",
    ] {
        assert_eq!(get(world.address, path), StatusCode::NOT_FOUND, "{path}");
    }
    author.git(&["push", &world.url("good", "No_Name"), "main"]).await.refused().says("is not an app name");
}

fn get(address: std::net::SocketAddr, path: &str) -> StatusCode {
    let mut stream = TcpStream::connect(address).unwrap();
    // `tawi:good`
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Basic dGF3aTpnb29k\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    StatusCode::from_bytes(&answer[9..12]).unwrap()
}
