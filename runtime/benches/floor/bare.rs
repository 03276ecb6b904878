//! What a call stands on: the same component in the same engine, with nothing around it that is not needed to run it.

use tawi_runtime::{
    host::{
        HostError, HostValue,
        bindings::tawi::app::{publish, state, types},
        event_handler, value_out,
    },
    model::Event,
};
use wasmtime::{
    Engine, ResourceLimiter, Store,
    component::{Component, HasData, InstancePre, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

pub struct Bare {
    engine: Engine,
    pre: InstancePre<Data>,
    indices: event_handler::GuestIndices,
}

/// The least that the component's imports and the limiter need.
#[derive(Default)]
struct Data {
    table: ResourceTable,
    wasi: Option<WasiCtx>,
    writes: Vec<(String, Vec<u8>)>,
    messages: Vec<(String, HostValue)>,
    limit: Limit,
}

#[derive(Default)]
struct Limit;

impl ResourceLimiter for Limit {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 64 << 20)
    }
    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 100_000)
    }
}

impl WasiView for Data {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| WasiCtx::builder().build());
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl types::Host for Data {}

impl state::Host for Data {
    fn get(&mut self, _: String) -> Result<Option<Vec<u8>>, HostError> {
        Ok(None)
    }
    fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), HostError> {
        self.writes.push((key, value));
        Ok(())
    }
    fn delete(&mut self, _: String) -> Result<(), HostError> {
        Ok(())
    }
    async fn entries(&mut self, _: String, _: Option<String>, _: u32) -> Result<Vec<state::Entry>, HostError> {
        Ok(Vec::new())
    }
}

impl publish::Host for Data {
    fn publish(&mut self, subject: String, value: HostValue) -> Result<(), HostError> {
        self.messages.push((subject, value));
        Ok(())
    }
}

struct Itself;

impl HasData for Itself {
    type Data<'a> = &'a mut Data;
}

impl Bare {
    pub fn new(engine: &Engine, component: &[u8]) -> Bare {
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        types::add_to_linker::<_, Itself>(&mut linker, |data| data).unwrap();
        state::add_to_linker::<_, Itself>(&mut linker, |data| data).unwrap();
        publish::add_to_linker::<_, Itself>(&mut linker, |data| data).unwrap();
        let pre = linker.instantiate_pre(&Component::new(engine, component).unwrap()).unwrap();
        let indices = event_handler::GuestIndices::new(&pre).unwrap();
        Bare { engine: engine.clone(), pre, indices }
    }

    pub async fn call(&self, event: &Event) {
        self.instance().await.call(event).await;
    }

    pub async fn instance(&self) -> Instance {
        let mut store = Store::new(&self.engine, Data::default());
        store.limiter(|data| &mut data.limit);
        store.set_epoch_deadline(1_000);
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let guest = self.indices.load(&mut store, &instance).unwrap();
        Instance { store, guest }
    }
}

/// One that can be called again and again.
pub struct Instance {
    store: Store<Data>,
    guest: event_handler::Guest,
}

impl Instance {
    pub async fn call(&mut self, event: &Event) {
        let Instance { store, guest } = self;
        store.set_epoch_deadline(1_000);
        let event = event_handler::Event {
            function: "own".to_owned(),
            id: "main-7".to_owned(),
            subject: event.subject.to_string(),
            device: event.device.as_ref().map(ToString::to_string),
            sensor: event.sensor.as_ref().map(ToString::to_string),
            value: value_out(&event.value),
            measured: event.measured.0,
            received: event.received.0,
            sequence: event.seq,
            attempt: 1,
        };
        guest.call_handle(&mut *store, &event).await.unwrap().unwrap();
        let data = store.data_mut();
        drop((std::mem::take(&mut data.writes), std::mem::take(&mut data.messages)));
    }
}
