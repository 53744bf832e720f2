//! Retail prices, as `prices.azure.com` gives them to anybody.

use serde_json::{Value, json};

use super::ask::{Answer, Asked};
use super::lists;
use super::settings::Price;
use super::world::World;

pub(super) fn answer(world: &World, asked: &Asked) -> Answer {
    let filter = match lists::filter(&asked.parameter("$filter").unwrap_or_default()) {
        Ok(filter) => filter,
        Err(refusal) => return refusal.arm(),
    };
    let items = world.settings.prices.iter().flat_map(items);
    let value = |item: &Value, name: &str| {
        let name = if name == "priceType" { "type" } else { name };
        item[name].as_str().map(str::to_owned)
    };
    let fitting: Vec<Value> = items.filter(|item| lists::holds(&filter, |name| value(item, name))).collect();
    Answer::json(
        200,
        &json!({
            "BillingCurrency": "USD", "CustomerEntityId": "Default", "CustomerEntityType": "Retail", "Count": fitting.len(),
            "NextPageLink": null, "Items": fitting,
        }),
    )
}

/// What is asked for, among what is easily taken for it: Windows, low priority, a reservation.
fn items(price: &Price) -> Vec<Value> {
    let series = "Virtual Machines NC Series";
    let (kind, ending) = ("Consumption", if price.is_spot { " Spot" } else { "" });
    let mut items = vec![
        item(price, (series, kind, ending), price.dollars),
        item(price, (&format!("{series} Windows"), kind, ending), price.dollars * 2.0),
    ];
    if !price.is_spot {
        items.push(item(price, (series, kind, " Low Priority"), price.dollars / 4.0));
        items.push(item(price, (series, "Reservation", ""), price.dollars * 5000.0));
    }
    items
}

fn item(price: &Price, (product, kind, ending): (&str, &str, &str), dollars: f64) -> Value {
    let words = price.size.trim_start_matches("Standard_").replace('_', " ");
    json!({
        "currencyCode": "USD", "tierMinimumUnits": 0.0, "retailPrice": dollars, "unitPrice": dollars,
        "armRegionName": price.region, "location": price.region, "effectiveStartDate": "2026-11-01T00:00:00Z",
        "meterId": "00000000-0000-4000-8000-000000000001", "meterName": format!("{words}{ending}"),
        "productId": "DZH318Z0BQ4W", "skuId": "DZH318Z0BQ4W/01F5", "productName": product,
        "skuName": format!("{}{ending}", price.size), "serviceName": "Virtual Machines", "serviceId": "DZH313Z7MMC8",
        "serviceFamily": "Compute", "unitOfMeasure": "1 Hour", "type": kind, "isPrimaryMeterRegion": true,
        "armSkuName": price.size,
    })
}
