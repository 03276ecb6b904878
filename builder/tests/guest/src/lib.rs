#[no_mangle]
pub extern "C" fn answer() -> u32 {
    41
}
