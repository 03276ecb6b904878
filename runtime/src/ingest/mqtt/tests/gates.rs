//! The same, with something around it.

use super::*;
use crate::model::limit::MQTT_WEBSOCKET_BYTES_MAX;
use futures::{SinkExt, StreamExt};
use std::path::Path;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

async fn gate(house: &mut House, around: Around) -> TcpStream {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    house.tasks.spawn(serve(Gate { listener, around }, house.broker.clone(), house.stop.clone()));
    TcpStream::connect(addr).await.unwrap()
}

fn bytes(packet: v3::Packet) -> Vec<u8> {
    packet.encode().unwrap().as_ref().to_vec()
}

#[tokio::test]
async fn a_browser_speaks_mqtt_in_messages_of_a_limited_size() {
    let mut house = House::open().await;
    let stream = gate(&mut house, Around::WebSocket).await;
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat, mqtt".parse().unwrap());
    let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
    // One packet in two messages, and two packets in one.
    let hello = bytes(guest("browser").into());
    socket.send(Message::binary(hello[..5].to_vec())).await.unwrap();
    let rest = [&hello[5..], &bytes(v3::Packet::Pingreq)].concat();
    socket.send(Message::binary(rest)).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 6 {
        let Some(Ok(Message::Binary(more))) = socket.next().await else { panic!() };
        heard.extend_from_slice(&more);
    }
    assert_eq!(heard, [0x20, 2, 0, 0, 0xd0, 0]);
    let large = v3::Publish::new(QosPid::Level0, TopicName::try_from(FIELD).unwrap(), vec![b' '; MQTT_WEBSOCKET_BYTES_MAX].into());
    // It may be hung up on before all of it is sent.
    let _ = socket.send(Message::binary(bytes(large.into()))).await;
    assert!(!matches!(socket.next().await, Some(Ok(Message::Binary(_)))));
}

#[tokio::test]
async fn a_client_may_speak_through_tls() {
    let mut house = House::open().await;
    let file = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ingest/mqtt/tests").join(name);
    let stream = gate(&mut house, Around::tls(&file("cert.pem"), &file("key.pem")).unwrap()).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("cert.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    stream.write_all(&bytes(guest("c").into())).await.unwrap();
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, [0x20, 2, 0, 0]);
    let missing = Around::tls(&file("none.pem"), &file("key.pem")).err().unwrap().to_string();
    assert!(missing.starts_with("can't read the certificate `"), "{missing}");
}
