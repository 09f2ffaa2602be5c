use plugin_api::prelude::*;

struct Lamp;

export_service!(Lamp);

fn main() {}
