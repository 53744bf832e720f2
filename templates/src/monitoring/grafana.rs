//! Grafana's provisioning and the JSON of dashboards, written from a short typed description.
//!
//! Panels flow: from left to right in their width, 24 columns a row, as they are listed.

use serde_json::{Value, json};
use spec::yaml::{self, YamlError};

use super::dashboards::DASHBOARDS;
use super::{Job, MonitoringFile, MonitoringInputs, file};

/// Panels name their data source by this, so that dashboards work wherever the provisioning does.
const DATA_SOURCE: &str = "dsctl-prometheus";
/// The format that the JSON below follows: Grafana 10 and later read it.
const SCHEMA: u64 = 39;
const COLUMNS: u64 = 24;

/// One page.
#[derive(Debug, Clone, Copy)]
pub struct Dashboard {
    /// Part of the page's address: never changes.
    pub uid: &'static str,
    pub title: &'static str,
    pub panels: &'static [Panel],
}

/// One picture.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    pub title: &'static str,
    /// Grafana's name of the unit, e.g. `s`, `percentunit`, `currencyUSD`.
    pub unit: &'static str,
    pub shape: Shape,
    pub queries: &'static [Query],
    /// Drawn as a line across; of an alert or a gate.
    pub bound: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One number; a quarter of the row.
    Number,
    /// Lines over time; half of the row.
    Lines,
    /// A histogram's buckets over time; the whole row.
    Heatmap,
}

/// One expression; the legend may name labels: `{{variant}}`.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    pub expression: &'static str,
    pub legend: &'static str,
}

pub const fn query(legend: &'static str, expression: &'static str) -> Query {
    Query { expression, legend }
}

pub const fn number(title: &'static str, unit: &'static str, queries: &'static [Query]) -> Panel {
    Panel { title, unit, shape: Shape::Number, queries, bound: None }
}

pub const fn lines(title: &'static str, unit: &'static str, queries: &'static [Query]) -> Panel {
    Panel { title, unit, shape: Shape::Lines, queries, bound: None }
}

pub const fn heatmap(title: &'static str, unit: &'static str, queries: &'static [Query]) -> Panel {
    Panel { title, unit, shape: Shape::Heatmap, queries, bound: None }
}

impl Panel {
    #[must_use]
    pub const fn bound(self, bound: f64) -> Self {
        Self { bound: Some(bound), ..self }
    }
}

impl Shape {
    /// Columns and rows of the page.
    const fn size(self) -> (u64, u64) {
        match self {
            Self::Number => (6, 4),
            Self::Lines => (12, 8),
            Self::Heatmap => (24, 9),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "stat",
            Self::Lines => "timeseries",
            Self::Heatmap => "heatmap",
        }
    }
}

/// Provisioning and dashboards.
pub fn files(inputs: &MonitoringInputs) -> Result<Vec<MonitoringFile>, YamlError> {
    let mut files = vec![
        file("grafana/provisioning/datasources/dsctl.yaml", data_sources(inputs)?),
        file("grafana/provisioning/dashboards/dsctl.yaml", providers(inputs)?),
    ];
    for dashboard in DASHBOARDS {
        let content = format!("{:#}\n", page(dashboard));
        files.push(file(&format!("grafana/dashboards/{}.json", dashboard.uid), content));
    }
    Ok(files)
}

fn data_sources(inputs: &MonitoringInputs) -> Result<String, YamlError> {
    let prometheus = inputs.targets.iter().find(|target| target.job == Job::Prometheus);
    let address = prometheus.map_or("127.0.0.1:9090", |target| target.address.as_str());
    yaml::print(&json!({
        "apiVersion": 1,
        "datasources": [{
            "name": "dsctl",
            "uid": DATA_SOURCE,
            "type": "prometheus",
            "access": "proxy",
            "url": format!("http://{address}"),
            "isDefault": true,
            "jsonData": {"timeInterval": "15s"},
        }],
    }))
}

fn providers(inputs: &MonitoringInputs) -> Result<String, YamlError> {
    yaml::print(&json!({
        "apiVersion": 1,
        "providers": [{
            "name": "dsctl",
            "folder": "dsctl",
            "type": "file",
            "allowUiUpdates": false,
            "options": {"path": inputs.folder.join("grafana/dashboards")},
        }],
    }))
}

/// A dashboard as Grafana reads it.
pub fn page(dashboard: &Dashboard) -> Value {
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["dsctl"],
        "schemaVersion": SCHEMA,
        "editable": false,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "panels": panels(dashboard),
        // From each page to the others.
        "links": [{"type": "dashboards", "tags": ["dsctl"], "title": "dsctl", "asDropdown": true, "keepTime": true}],
    })
}

fn panels(dashboard: &Dashboard) -> Vec<Value> {
    let (mut left, mut top, mut tallest) = (0, 0, 0);
    let mut all = Vec::new();
    for (panel, id) in dashboard.panels.iter().zip(1u64..) {
        let (width, height) = panel.shape.size();
        if left + width > COLUMNS {
            (left, top, tallest) = (0, top + tallest, 0);
        }
        all.push(panel_json(panel, id, &json!({"x": left, "y": top, "w": width, "h": height})));
        (left, tallest) = (left + width, tallest.max(height));
    }
    all
}

fn panel_json(panel: &Panel, id: u64, place: &Value) -> Value {
    json!({
        "id": id,
        "type": panel.shape.as_str(),
        "title": panel.title,
        "gridPos": place,
        "datasource": {"type": "prometheus", "uid": DATA_SOURCE},
        "targets": targets(panel),
        "fieldConfig": {"defaults": defaults(panel), "overrides": []},
        "options": options(panel),
    })
}

fn targets(panel: &Panel) -> Vec<Value> {
    let format = if panel.shape == Shape::Heatmap { "heatmap" } else { "time_series" };
    let target = |(query, letter): (&Query, char)| {
        json!({
            "refId": letter.to_string(),
            "expr": query.expression,
            "legendFormat": query.legend,
            "format": format,
            "instant": panel.shape == Shape::Number,
            "range": panel.shape != Shape::Number,
        })
    };
    panel.queries.iter().zip('A'..='Z').map(target).collect()
}

fn defaults(panel: &Panel) -> Value {
    let mut defaults = json!({"unit": panel.unit, "min": 0});
    if let Some(bound) = panel.bound {
        let steps = json!([{"color": "green", "value": null}, {"color": "red", "value": bound}]);
        defaults["thresholds"] = json!({"mode": "absolute", "steps": steps});
        defaults["custom"] = json!({"thresholdsStyle": {"mode": "line"}});
    }
    defaults
}

fn options(panel: &Panel) -> Value {
    match panel.shape {
        Shape::Number => {
            json!({"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"})
        }
        Shape::Lines => json!({"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}),
        Shape::Heatmap => json!({"calculate": false, "yAxis": {"unit": panel.unit}, "cellGap": 1}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::full;
    use super::*;

    const TWO: &[Query] = &[query("a", "up"), query("b", "up")];
    const PAGE: Dashboard = Dashboard {
        uid: "x",
        title: "X",
        panels: &[
            number("one", "s", TWO),
            lines("two", "s", TWO).bound(15.0),
            lines("three", "s", TWO),
            heatmap("four", "s", TWO),
        ],
    };

    #[test]
    fn panels_flow_and_never_overlap() {
        let page = page(&PAGE);
        let place = |at: usize| ["x", "y", "w"].map(|key| page["panels"][at]["gridPos"][key].as_u64().unwrap());
        assert_eq!([place(0), place(1), place(2), place(3)], [[0, 0, 6], [6, 0, 12], [0, 8, 12], [0, 16, 24]]);
    }

    #[test]
    fn a_bound_is_a_line_across_and_each_query_has_its_letter() {
        let page = page(&PAGE);
        let bounded = &page["panels"][1]["fieldConfig"]["defaults"];
        assert_eq!(bounded["thresholds"]["steps"][1]["value"], 15.0);
        assert_eq!(bounded["custom"]["thresholdsStyle"]["mode"], "line");
        assert_eq!(page["panels"][2]["fieldConfig"]["defaults"]["thresholds"], Value::Null);
        assert_eq!(page["panels"][1]["targets"][1]["refId"], "B");
        assert_eq!(page["panels"][3]["targets"][0]["format"], "heatmap");
    }

    #[test]
    fn provisioning_leads_to_prometheus_and_to_the_dashboards() {
        let sources: Value = yaml::parse(&data_sources(&full()).unwrap(), "datasources").unwrap();
        assert_eq!(sources["datasources"][0]["url"], "http://127.0.0.1:9090");
        let providers: Value = yaml::parse(&providers(&full()).unwrap(), "providers").unwrap();
        assert_eq!(providers["providers"][0]["options"]["path"], "/etc/dsctl/monitoring/grafana/dashboards");
        assert_eq!(page(&PAGE)["panels"][0]["datasource"]["uid"], sources["datasources"][0]["uid"]);
    }
}
