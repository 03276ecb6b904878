//! The engine's settings: a pool of instances sized for the node, or instances on demand where there is no address space.

use super::{
    Wasi,
    check::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX},
    warm::WARM_MAX,
};
use crate::{host::TABLE_ELEMENTS_MAX, model::manifest::MEMORY_BYTES_MAX};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

/// Memory of a slot that stays mapped between calls. Only worth it where the kernel can tell which pages are dirty.
const KEEP_BYTES: usize = 1 << 20;

/// One call in the engine for WASI 0.3 runs on one stack at a time, and leaves one behind for each component instance in it that waits;
/// each of those has at least one core instance.
const STACKS_PER_CALL: u32 = CORE_INSTANCES_MAX;
/// Stacks in all, whatever the number of permits: each takes two of the 65,530 mappings that the kernel grants a process.
const STACKS_MAX: u32 = 8_192;

pub(super) fn engine(wasi: Wasi, instances_max: u32, keeps_pages: bool) -> Result<Engine> {
    match Engine::new(&config(wasi, Some(pooling(wasi, instances_max, keeps_pages)))) {
        Ok(engine) => Ok(engine),
        // Each slot reserves 4 GiB of addresses; a small board's kernel has not enough of them.
        Err(error) => {
            tracing::warn!(%error, "no address space for a pool of instances, they are made on demand");
            Engine::new(&config(wasi, None))
        }
    }
}

fn config(wasi: Wasi, pool: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // Only handlers of WASI 0.3 need it, and it costs every call some microseconds.
    config.concurrency_support(wasi == Wasi::P3);
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config.max_wasm_stack(512 << 10);
    config.async_stack_size(1 << 20);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

fn pooling(wasi: Wasi, instances_max: u32, keeps_pages: bool) -> PoolingAllocationConfig {
    let (instances, stacks) = match wasi {
        // Those that wait for another call hold no permit, and need a place of their own.
        Wasi::P2 => (instances_max + WARM_MAX, instances_max + WARM_MAX),
        Wasi::P3 => (instances_max, instances_max.saturating_mul(STACKS_PER_CALL).min(STACKS_MAX).max(instances_max)),
    };
    let mut pool = PoolingAllocationConfig::new();
    // As much for every permit as one component may have: who holds a permit finds room, whatever the others are made of. A core
    // instance costs nothing until it is made; a memory reserves addresses, so there are few.
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES_MAX)
        .total_memories(instances * MEMORIES_MAX)
        .total_tables(instances * TABLES_MAX)
        .total_stacks(stacks)
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
