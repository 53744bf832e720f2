//! Azure's list of retail prices, which anybody may read.

use std::collections::BTreeMap;

use engine::provider::ProviderError;
use reqwest::Method;
use serde::Deserialize;
use spec::amount::Usd;

use crate::azure::arm::encoded;
use crate::azure::error::failed;
use crate::http::Http;

/// Of one machine type in a region, in all its zones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    pub on_demand: Option<Usd>,
    pub spot: Option<Usd>,
}

pub type Prices = BTreeMap<String, Price>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    items: Vec<Item>,
    next_page_link: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    arm_sku_name: String,
    retail_price: f64,
    unit_of_measure: String,
    product_name: String,
    sku_name: String,
    #[serde(default)]
    currency_code: String,
}

/// Of these machine types; those without a price are left out.
pub async fn ask(http: &Http, base: &str, region: &str, types: &[String]) -> Result<Prices, ProviderError> {
    let mut next = Some(format!("{base}/api/retail/prices?$filter={}", encoded(&filter(region, types))));
    let mut prices = Prices::new();
    while let Some(url) = next {
        let page = page(http, &url).await?;
        page.items.iter().for_each(|item| item.add_to(&mut prices));
        next = page.next_page_link.filter(|link| !link.is_empty());
    }
    Ok(prices)
}

fn filter(region: &str, types: &[String]) -> String {
    let types: Vec<String> = types.iter().map(|name| format!("armSkuName eq '{name}'")).collect();
    let what = "serviceName eq 'Virtual Machines' and priceType eq 'Consumption'";
    format!("{what} and armRegionName eq '{region}' and ({})", types.join(" or "))
}

async fn page(http: &Http, url: &str) -> Result<Page, ProviderError> {
    let what = "prices";
    let request = http.request(Method::GET, url).build();
    let request = request.map_err(|error| ProviderError::permanent(what, error.without_url()))?;
    let answer = http.look(&request).await.map_err(|silence| silence.about(what))?;
    if answer.is_success() { answer.json(what) } else { Err(failed(what, &answer)) }
}

impl Item {
    /// Of Linux machines by the hour; "low priority" is an older kind of spot that batches alone can have.
    fn add_to(&self, prices: &mut Prices) {
        let is_linux = !self.product_name.contains("Windows");
        let is_plain = !self.sku_name.ends_with("Low Priority") && self.unit_of_measure == "1 Hour";
        let in_dollars = self.currency_code.is_empty() || self.currency_code == "USD";
        let Some(price) = known(self.retail_price).filter(|_| is_linux && is_plain && in_dollars) else { return };
        let entry = prices.entry(self.arm_sku_name.clone()).or_default();
        let place = if self.sku_name.ends_with("Spot") { &mut entry.spot } else { &mut entry.on_demand };
        *place = Some(price);
    }
}

/// Absent and zero are unknown.
fn known(price: f64) -> Option<Usd> {
    let millionths = (price * 1e6).round();
    (1.0..1e15).contains(&millionths).then(|| Usd::from_millionths(millionths as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(product: &str, sku: &str, price: f64) -> Item {
        Item {
            arm_sku_name: "Standard_NC24ads_A100_v4".to_owned(),
            retail_price: price,
            unit_of_measure: "1 Hour".to_owned(),
            product_name: product.to_owned(),
            sku_name: sku.to_owned(),
            currency_code: "USD".to_owned(),
        }
    }

    #[test]
    fn each_price_is_told_from_the_others() {
        let mut prices = Prices::new();
        let linux = "Virtual Machines NCads A100 v4 Series";
        for item in [
            item(linux, "NC24ads A100 v4", 3.673),
            item(linux, "NC24ads A100 v4 Spot", 1.1019),
            item(linux, "NC24ads A100 v4 Low Priority", 0.73),
            item("Virtual Machines NCads A100 v4 Series Windows", "NC24ads A100 v4", 4.777),
            item(linux, "NC24ads A100 v4", 0.0),
        ] {
            item.add_to(&mut prices);
        }
        let price = prices["Standard_NC24ads_A100_v4"];
        assert_eq!((price.on_demand, price.spot), ("3.673".parse().ok(), "1.1019".parse().ok()));
    }

    #[test]
    fn a_page_is_read_as_azure_writes_it() {
        let page: Page = serde_json::from_str(
            r#"{"BillingCurrency":"USD","CustomerEntityId":"Default","Items":[{"currencyCode":"USD","tierMinimumUnits":0.0,
            "retailPrice":3.673,"unitPrice":3.673,"armRegionName":"eastus","meterName":"NC24ads A100 v4","productName":"x",
            "skuName":"NC24ads A100 v4","serviceName":"Virtual Machines","unitOfMeasure":"1 Hour","type":"Consumption",
            "armSkuName":"Standard_NC24ads_A100_v4"}],"NextPageLink":null,"Count":1}"#,
        )
        .unwrap();
        assert_eq!((page.items.len(), page.next_page_link), (1, None));
        let filter = filter("eastus", &["A".to_owned(), "B".to_owned()]);
        assert!(filter.ends_with("(armSkuName eq 'A' or armSkuName eq 'B')"), "{filter}");
    }
}
