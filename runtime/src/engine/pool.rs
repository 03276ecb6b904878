//! The engine's settings: a pool of instances sized for the node, or instances on demand where there is no address space.

use super::{
    check::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX},
    warm::WARM_MAX,
};
use crate::{host::TABLE_ELEMENTS_MAX, model::manifest::MEMORY_BYTES_MAX};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

/// Memory of a slot that stays mapped between calls. Only worth it where the kernel can tell which pages are dirty.
const KEEP_BYTES: usize = 1 << 20;

pub(super) fn engine(instances_max: u32, keeps_pages: bool) -> Result<Engine> {
    match Engine::new(&config(Some(pooling(instances_max, keeps_pages)))) {
        Ok(engine) => Ok(engine),
        // Each slot reserves 4 GiB of addresses; a small board's kernel has not enough of them.
        Err(error) => {
            tracing::warn!(%error, "no address space for a pool of instances, they are made on demand");
            Engine::new(&config(None))
        }
    }
}

fn config(pool: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // Handlers of WASI 0.3 would need it; it costs every call some microseconds (issue of the engine).
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config.max_wasm_stack(512 << 10);
    config.async_stack_size(1 << 20);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

fn pooling(instances_max: u32, keeps_pages: bool) -> PoolingAllocationConfig {
    // Those that wait for another call hold no permit, and need a place of their own.
    let instances = instances_max + WARM_MAX;
    let mut pool = PoolingAllocationConfig::new();
    // As much for every permit as one component may have: who holds a permit finds room, whatever the others are made of. A core
    // instance costs nothing until it is made; a memory reserves addresses, so there are few.
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES_MAX)
        .total_memories(instances * MEMORIES_MAX)
        .total_tables(instances * TABLES_MAX)
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memories_per_module(2)
        .max_tables_per_module(4)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX);
    if keeps_pages {
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEEP_BYTES).table_keep_resident(64 << 10);
    }
    pool
}
