//! The same chains here and in a sandbox: a reading is cleaned alike in a cloud and in a field, whatever processor it has.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../functions/probe-preprocess/src/stream.rs"]
mod stream;
mod support;

use support::{Floor, reading};
use tawi_runtime::{model::Kind, preprocess::chain};

const APP: &str = "[app]\nname = \"probe-preprocess\"\n[[on]]\nname = \"seed\"\nsubject = \"reading.*.seed\"\n";
const SEEDS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_comes_to_the_same_bits_on_this_machine_and_in_webassembly() {
    let floor = Floor::open().await;
    floor.deploy("probe-preprocess", APP).await;
    // Of one device, so that they are handled in this order.
    floor.append((0..SEEDS).map(|seed| reading("d", "seed", &seed.to_string())).collect()).await;
    let lines = floor.events(Kind::Log, SEEDS as usize).await;
    let theirs: Vec<String> = lines.iter().map(|line| line.value.to_json()["message"].as_str().unwrap().to_owned()).collect();
    let ours: Vec<String> = (0..SEEDS).map(|seed| format!("{:016x}", stream::bits(seed))).collect();
    assert_eq!(ours, theirs);
    let mut different = ours.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), ours.len(), "each seed comes to something else");
}
