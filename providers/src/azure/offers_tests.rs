//! What a region's answers come to.

use serde_json::json;
use spec::deployment::Cloud;
use spec::machine::Gpu;

use super::sizes::tests::sku;
use super::*;

const TYPE: &str = "Standard_NC24ads_A100_v4";

fn question(market: Market) -> Question {
    let offer = Offer {
        cloud: Cloud::Azure,
        machine_type: TYPE.to_owned(),
        region: "westeurope".to_owned(),
        zones: Vec::new(),
        vcpus: 24,
        memory_mib: 225_280,
        gpu: Some(Gpu { name: "A100 80GB".to_owned(), memory_mib: 81_920 }),
        gpu_count: 1,
        on_demand_hourly: None,
        spot_hourly: None,
        price_as_of: None,
        price_source: String::new(),
        on_demand_quota: None,
        spot_quota: None,
    };
    Question { region: "westeurope".to_owned(), offers: vec![offer], market, image: ImageWish::None }
}

fn sizes(zones: &[&str], restrictions: &Value) -> Sizes {
    Sizes::of(&[sku(TYPE, zones, restrictions)], "westeurope")
}

fn usages(family: f64, all: f64) -> Vec<Usage> {
    let one = |code: &str, limit: f64| Usage { code: code.to_owned(), name: code.to_owned(), limit, used: 4.0 };
    vec![one("cores", all), one("Standard NCADSA100v4 Family", family), one("lowPriorityCores", 10.0)]
}

#[test]
fn zones_have_the_regions_name_and_what_is_withheld_is_not_offered() {
    let price = Price { on_demand: "3.673".parse().ok(), spot: "1.1".parse().ok() };
    let prices = Prices::from([(TYPE.to_owned(), price)]);
    let live = offers(&question(Market::OnDemand), &sizes(&["1", "2"], &json!([])), &prices);
    assert_eq!(live[TYPE].zones, ["westeurope-1", "westeurope-2"]);
    assert_eq!((live[TYPE].on_demand_hourly, live[TYPE].spot_hourly.len()), (price.on_demand, 0));
    let live = offers(&question(Market::Spot), &sizes(&["1", "2"], &json!([])), &prices);
    assert_eq!(live[TYPE].spot_hourly.get("westeurope"), price.spot.as_ref());
    let withheld = json!([{"type": "Location", "reasonCode": "NotAvailableForSubscription"}]);
    assert!(offers(&question(Market::OnDemand), &sizes(&["1"], &withheld), &prices).is_empty());
    assert_eq!(offers(&question(Market::OnDemand), &Sizes::default(), &prices).len(), 1, "not asked is not refused");
}

fn quota(market: Market, sizes: &Sizes, usages: &[Usage]) -> Option<Quota> {
    let question = question(market);
    Limits { subscription: "s", question: &question, sizes, usages }.quotas().remove(TYPE)
}

#[test]
fn the_tightest_limit_counts() {
    let sizes = Sizes::of(
        &[{
            let mut sku = sku(TYPE, &["1"], &json!([]));
            sku["family"] = json!("standard NCADSA100v4 Family");
            sku
        }],
        "westeurope",
    );
    let family = quota(Market::OnDemand, &sizes, &usages(24.0, 100.0)).unwrap();
    assert_eq!((family.code.as_str(), family.has_room()), ("Standard NCADSA100v4 Family", false));
    assert!(
        family.request.contains("value=28") && family.request.contains("locations/westeurope"),
        "{}",
        family.request
    );
    let all = quota(Market::OnDemand, &sizes, &usages(100.0, 50.0)).unwrap();
    assert_eq!((all.code.as_str(), all.has_room()), ("cores", true));
    let spot = quota(Market::Spot, &sizes, &usages(100.0, 100.0)).unwrap();
    assert_eq!((spot.code.as_str(), spot.has_room()), ("lowPriorityCores", false));
    assert_eq!(quota(Market::OnDemand, &Sizes::default(), &[]), None);
}

#[test]
fn what_is_withheld_has_no_room_and_says_so() {
    let withheld = json!([{"type": "Location", "reasonCode": "NotAvailableForSubscription"}]);
    let quota = quota(Market::OnDemand, &sizes(&["1"], &withheld), &usages(100.0, 100.0)).unwrap();
    assert_eq!((quota.code.as_str(), quota.has_room()), ("NotAvailableForSubscription", false));
    assert!(quota.request.starts_with("az vm list-skus --location westeurope"), "{}", quota.request);
}

#[test]
fn a_usage_is_read_with_its_stray_spaces() {
    let seen = json!({"unit": "Count", "currentValue": 4, "limit": 24,
        "name": {"value": "Standard NCASv3_T4 Family ", "localizedValue": "Standard NCASv3_T4 Family vCPUs"}});
    let usage = usage(&seen).unwrap();
    assert_eq!((usage.code.as_str(), usage.limit), ("Standard NCASv3_T4 Family", 24.0));
    assert_eq!(plain("standardNCASv3_T4Family"), plain(&usage.code));
}

#[test]
fn a_type_that_the_image_has_no_driver_for_is_left_out_unless_another_image_is_named() {
    let mut question = question(Market::OnDemand);
    question.image = ImageWish::Newest;
    assert_eq!(by_driver(&question).unwrap(), (question.clone(), None));
    let good = question.clone();
    question.offers.push(Offer { machine_type: "Standard_NV36ads_A10_v5".to_owned(), ..question.offers[0].clone() });
    let (asked, note) = by_driver(&question).unwrap();
    assert_eq!(asked, good);
    assert!(note.unwrap().starts_with("not tried: Standard_NV36ads_A10_v5: NVIDIA's GRID driver"));
    question.offers.remove(0);
    let error = by_driver(&question).unwrap_err();
    assert!(error.what.contains("Standard_NV36") && error.next().unwrap().contains("--image"), "{error:?}");
    question.image = ImageWish::Named("p:o:s:1".to_owned());
    assert_eq!(by_driver(&question).unwrap(), (question.clone(), None));
}
