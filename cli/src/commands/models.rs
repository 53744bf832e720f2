//! `dsctl models`: what can be served, and how large it is.

use advisor::catalogue;
use serde::Serialize;
use spec::amount::bytes_text;

use crate::args::JsonArgs;
use crate::exit::Failure;
use crate::talk::{print, print_json};
use crate::view::table;

#[derive(Debug, Serialize)]
struct ModelRow {
    name: String,
    served_name: String,
    quantization: String,
    parameters: u64,
    weight_bytes: u64,
    context: u32,
    licence: String,
}

pub fn run(args: &JsonArgs) -> Result<(), Failure> {
    let catalogue = catalogue().map_err(Failure::failed)?;
    let rows: Vec<ModelRow> = catalogue
        .entries()
        .map(|entry| ModelRow {
            name: entry.name.to_string(),
            served_name: entry.model.served_name.clone(),
            quantization: entry.file.quantization.as_str().to_owned(),
            parameters: entry.model.parameters,
            weight_bytes: entry.weight_bytes(),
            context: entry.model.architecture.context,
            licence: entry.model.licence.clone(),
        })
        .collect();
    if args.json {
        return print_json(&rows);
    }
    let mut lines = vec![["NAME", "SERVED AS", "WEIGHTS", "CONTEXT", "LICENCE"].map(str::to_owned).to_vec()];
    lines.extend(rows.into_iter().map(|row| {
        vec![row.name, row.served_name, bytes_text(row.weight_bytes), row.context.to_string(), row.licence]
    }));
    print(table(&lines))
}
