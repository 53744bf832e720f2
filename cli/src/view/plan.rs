//! A plan for the eye: symbols, one line a resource, size on disk, price.

use console::Style;
use engine::plan::{Action, Change, Plan};
use spec::amount::bytes_text;

use super::table;

/// All that changes, one line a resource, and the totals; what stays is only counted.
pub fn plan(plan: &Plan) -> String {
    if plan.is_empty() {
        return plan_is_empty(plan);
    }
    let all = plan.changes.iter().chain(&plan.retiring);
    let changing: Vec<&Change> = all.filter(|change| change.action != Action::NoOp).collect();
    let rows: Vec<Vec<String>> = changing.iter().map(|change| row(change)).collect();
    let mut text = format!("Plan for {}:\n\n{}\n\n", plan.deployment, table(&rows));
    text.push_str(&totals(plan));
    text
}

fn row(change: &Change) -> Vec<String> {
    let style = match change.action {
        Action::Create => Style::new().green(),
        Action::Update => Style::new().yellow(),
        Action::Delete => Style::new().red(),
        Action::Replace => Style::new().magenta(),
        Action::NoOp => Style::new(),
    };
    let note = match change.action {
        Action::Create if change.reason == "new" => change.summary.clone(),
        _ => change.reason.clone(),
    };
    vec![
        format!("  {}", style.apply_to(change.action.symbol())),
        change.address.to_string(),
        if change.disk_bytes == 0 { String::new() } else { bytes_text(change.disk_bytes) },
        price(change.monthly_usd),
        note,
    ]
}

fn price(monthly_usd: Option<f64>) -> String {
    monthly_usd.map_or_else(|| "price unknown".to_owned(), |usd| format!("${usd:.2}/month"))
}

/// One line: how much of what, on disk, a month.
pub fn summary(plan: &Plan) -> String {
    if plan.is_empty() { plan_is_empty(plan) } else { totals(plan) }
}

fn plan_is_empty(plan: &Plan) -> String {
    format!("No changes: {} is as the spec says.", plan.deployment)
}

fn totals(plan: &Plan) -> String {
    let replaced = match plan.count(Action::Replace) {
        0 => String::new(),
        count => format!("{count} to replace, "),
    };
    // What a cloud deployment has lies on no disk here.
    let disk = match plan.disk_bytes() {
        0 => String::new(),
        bytes => format!("{} on disk, ", bytes_text(bytes)),
    };
    format!(
        "{} to create, {} to update, {replaced}{} to delete; {disk}{}.",
        plan.count(Action::Create),
        plan.count(Action::Update),
        plan.count(Action::Delete),
        price(plan.monthly_usd()),
    )
}
