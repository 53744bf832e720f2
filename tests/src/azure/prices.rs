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
    let items: Vec<Value> = world.settings.prices.iter().map(item).collect();
    let value = |item: &Value, name: &str| {
        let name = if name == "priceType" { "type" } else { name };
        item[name].as_str().map(str::to_owned)
    };
    let fitting: Vec<Value> =
        items.into_iter().filter(|item| lists::holds(&filter, |name| value(item, name))).collect();
    Answer::json(
        200,
        &json!({
            "BillingCurrency": "USD", "CustomerEntityId": "Default", "CustomerEntityType": "Retail", "Count": fitting.len(),
            "NextPageLink": null, "Items": fitting,
        }),
    )
}

fn item(price: &Price) -> Value {
    let words = price.size.trim_start_matches("Standard_").replace('_', " ");
    let ending = if price.is_spot { " Spot" } else { "" };
    json!({
        "currencyCode": "USD", "tierMinimumUnits": 0.0, "retailPrice": price.dollars, "unitPrice": price.dollars,
        "armRegionName": price.region, "location": price.region, "effectiveStartDate": "2026-11-01T00:00:00Z",
        "meterId": "00000000-0000-4000-8000-000000000001", "meterName": format!("{words}{ending}"),
        "productId": "DZH318Z0BQ4W", "skuId": "DZH318Z0BQ4W/01F5", "productName": "Virtual Machines NC Series",
        "skuName": format!("{}{ending}", price.size), "serviceName": "Virtual Machines", "serviceId": "DZH313Z7MMC8",
        "serviceFamily": "Compute", "unitOfMeasure": "1 Hour", "type": "Consumption", "isPrimaryMeterRegion": true,
        "armSkuName": price.size,
    })
}
