//! Requests a second to a function that says hello, beside servers of others: each server on one processor, the generator on
//! another, in turn.

use crate::{addr, say};
use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};
use std::{net::SocketAddr, time::Duration};
use tawi_platform_tests::{
    App, Launch, Ledger,
    app::set_on,
    flood::{Flood, Flooded},
    node::cpu_seconds,
    peer::{Peer, on_cpu},
    repo,
    results::{Figure, Results, median_pair, spread},
};

const CONNECTIONS: usize = 64;
/// Many short ones: on a machine that others use as well, neither side should have a bad second alone.
const ROUNDS: usize = 15;
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_secs(1);
/// Knows nothing of Tawi: plain `wasi:http` 0.2.
const GUEST: &str = "plain-http";
/// What the function is asked for, and answers with.
const PATH: &str = "/hello";
const BODY: &str = "/hello from elsewhere\n";

/// A fresh instance for each request, here and there.
pub fn fresh(results: &mut Results) {
    let Some(processors) = Processors::of_this_machine("hello world over HTTP") else { return };
    let Some(peer) = Peer::wasmtime_serve(&repo::component(GUEST), processors.server) else {
        return missing("hello world over HTTP", "wasmtime");
    };
    let node = Launch::on(Ledger::Embedded).before(on_cpu(processors.server)).start();
    let app = App::prebuilt(GUEST);
    app.push(&node);
    let generator = processors.generator;
    let ours = Asked { addr: addr(&node), pid: node.pid(), path: app.run_path(PATH), generator };
    let theirs = Asked { addr: peer.addr, pid: peer.pid(), path: PATH.to_owned(), generator };
    compare(results, "hello world over HTTP", 1.1, &ours, "`wasmtime serve`", &theirs);
}

/// One instance for many requests, here and there.
pub fn reused(results: &mut Results) {
    const NAME: &str = "hello world over HTTP, instances reused";
    let Some(processors) = Processors::of_this_machine(NAME) else { return };
    let Some(peer) = Peer::workerd(WORKER, processors.server) else {
        return missing(NAME, "workerd");
    };
    let node = Launch::on(Ledger::Embedded).before(on_cpu(processors.server)).start();
    let app = App::prebuilt(GUEST);
    app.manifest(|manifest| set_on(manifest, "reuse", REUSE));
    app.commit("instances serve more than one request");
    app.push(&node);
    let generator = processors.generator;
    let ours = Asked { addr: addr(&node), pid: node.pid(), path: app.run_path(PATH), generator };
    let theirs = Asked { addr: peer.addr, pid: peer.pid(), path: PATH.to_owned(), generator };
    compare(results, NAME, 2.0, &ours, "workerd", &theirs);
}

/// Requests that one instance serves at most, of an author who trusts her code.
const REUSE: i64 = 1_000;
/// What `functions/plain-http` does, for workerd.
const WORKER: &str = r#"
export default {
  fetch(request) {
    const path = request.url.slice(request.url.indexOf("/", "http://".length));
    return new Response(path + " from elsewhere\n", { headers: { "content-type": "text/plain" } });
  },
};
"#;

/// Where a server is, and what it is asked for.
struct Asked {
    addr: SocketAddr,
    pid: u32,
    path: String,
    /// The processor of who asks.
    generator: usize,
}

/// What came of it.
struct Answered {
    flooded: Flooded,
    /// Of the server's processor, for each answer: on a machine that others use as well this says more than the rate.
    cpu_micros: f64,
}

impl Asked {
    fn answered(&self) -> Answered {
        let request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", self.path, self.addr).into_bytes();
        let (connections, body, cpu) = (CONNECTIONS, BODY.as_bytes().to_vec(), self.generator);
        let flood = Flood { connections, request, body, warm_up: WARM_UP, measured: MEASURED, cpu };
        let before = cpu_seconds(self.pid);
        let flooded = flood.run(self.addr);
        Answered { cpu_micros: (cpu_seconds(self.pid) - before) * 1e6 / flooded.answers as f64, flooded }
    }
}

fn compare(results: &mut Results, name: &str, goal: f64, ours: &Asked, peer: &str, theirs: &Asked) {
    let pairs: Vec<_> = (0..ROUNDS).map(|_| (ours.answered(), theirs.answered())).collect();
    let of = |answered: &Answered| answered.flooded.per_second;
    let spread = spread(&pairs, of);
    let Some((ours, theirs)) = median_pair(pairs, of) else { return };
    let note = format!(
        "{CONNECTIONS} kept-alive connections, one processor for each server, {:.1} µs of it for an answer beside {:.1} µs; {spread}",
        ours.cpu_micros, theirs.cpu_micros
    );
    results.add(Figure::at_least(name, of(&ours), "1/s", goal).beside(peer, of(&theirs)).note(note));
    let (ours, theirs) = (ours.flooded.latencies, theirs.flooded.latencies);
    let p50 = format!("p50 {:.2} ms beside {:.2} ms", ours.percentile_ms(50.0), theirs.percentile_ms(50.0));
    let p99 = Figure::at_most(&format!("{name}, p99"), ours.percentile_ms(99.0), "ms", 1.0);
    results.add(p99.beside(peer, theirs.percentile_ms(99.0)).note(p50));
}

/// One for the servers, in turn, and one for the generator.
struct Processors {
    server: usize,
    generator: usize,
}

impl Processors {
    /// The first two that this process may run on: in a container that need not be 0 and 1.
    fn of_this_machine(name: &str) -> Option<Processors> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).expect("the kernel says where this process may run");
        let mut allowed = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).is_ok_and(|is_set| is_set));
        let processors = allowed.next().zip(allowed.next()).map(|(server, generator)| Processors { server, generator });
        if processors.is_none() {
            say(&format!("{name}: not measured, it takes a processor for the server and one for the generator"));
        }
        processors
    }
}

fn missing(name: &str, program: &str) {
    say(&format!("{name}: not measured, there is no {program} in `{}`; tools/setup bench puts it there", repo::tools_dir().display()));
}
