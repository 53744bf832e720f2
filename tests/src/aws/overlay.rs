//! What moto leaves out: quotas, prices, and the parameter that names the newest image. It has no memory and no faults of
//! its own; those are the proxy's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Refusal, Signed};
use crate::proxy::message::Asked;
use crate::proxy::{lock, serve};

/// `Deep Learning AMI Ubuntu Linux`: moto knows it in every region. Its root device is `/dev/sda1`.
pub const IMAGE: &str = "ami-dca37ea5";
pub const IMAGE_PARAMETER: &str =
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id";
/// On-demand and spot of G and VT, of P; spot of P4, of P5.
pub const QUOTAS: [&str; 5] = ["L-DB2E81BA", "L-417A185B", "L-3819A6DF", "L-7212CCBC", "L-C4BD4855"];
/// vCPUs of each, unless a test says otherwise.
const PLENTY: f64 = 1152.0;
/// The services that it answers for, as signatures name them.
pub const SERVICES: [&str; 3] = ["servicequotas", "pricing", "ssm"];

#[derive(Debug, Default)]
struct Shared {
    quotas: Mutex<BTreeMap<String, f64>>,
    /// Dollars an hour by type and region.
    prices: Mutex<BTreeMap<(String, String), String>>,
    image: Mutex<Option<String>>,
}

/// Lives until the process ends.
#[derive(Debug)]
pub struct Overlay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Overlay {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let address = serve(Router::new().fallback(answer).with_state(Arc::clone(&shared)));
        let overlay = Self { address, shared };
        overlay.reset();
        overlay
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As it was at first: plenty of everything, no prices, moto's image.
    pub fn reset(&self) {
        *lock(&self.shared.quotas) = QUOTAS.map(|code| (code.to_owned(), PLENTY)).into();
        lock(&self.shared.prices).clear();
        self.set_image(Some(IMAGE));
    }

    pub fn set_quota(&self, code: &str, vcpus: f64) {
        lock(&self.shared.quotas).insert(code.to_owned(), vcpus);
    }

    /// Dollars an hour, as Amazon writes them: `"10.4926400000"`.
    pub fn set_price(&self, machine_type: &str, region: &str, usd: &str) {
        lock(&self.shared.prices).insert((machine_type.to_owned(), region.to_owned()), usd.to_owned());
    }

    /// None: there is no such parameter in the region.
    pub fn set_image(&self, id: Option<&str>) {
        *lock(&self.shared.image) = id.map(str::to_owned);
    }

    /// For clients that do not go through the proxy.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        ["AWS_ENDPOINT_URL_SERVICE_QUOTAS", "AWS_ENDPOINT_URL_PRICING", "AWS_ENDPOINT_URL_SSM"]
            .map(|name| (name, self.url()))
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let Some(asked) = Asked::read(request).await else { return StatusCode::BAD_REQUEST.into_response() };
    let asked = Signed::of(&asked);
    let answered = match (asked.service.as_str(), asked.operation().as_str()) {
        ("servicequotas", "GetServiceQuota") => quota(&shared, &asked),
        ("pricing", "GetProducts") => Ok(products(&shared, &asked)),
        ("ssm", "GetParameter") => parameter(&shared, &asked),
        (service, operation) => Err(Refusal::new(400, "UnknownOperationException", format!("{service} {operation}"))),
    };
    match answered {
        Ok(value) => ([(header::CONTENT_TYPE, "application/x-amz-json-1.1")], value.to_string()).into_response(),
        Err(refusal) => refusal.answer(&asked.service).into_response(),
    }
}

fn quota(shared: &Shared, asked: &Signed) -> Result<Value, Refusal> {
    let body = asked.json();
    let code = body["QuotaCode"].as_str().unwrap_or_default();
    let limit = lock(&shared.quotas).get(code).copied().filter(|_| body["ServiceCode"] == "ec2");
    let limit = limit.ok_or_else(|| Refusal::new(400, "NoSuchResourceException", "the quota does not exist"))?;
    let arn = format!("arn:aws:servicequotas:{}:123456789012:ec2/{code}", asked.region);
    Ok(json!({"Quota": {
        "ServiceCode": "ec2", "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)", "QuotaArn": arn,
        "QuotaCode": code, "QuotaName": code, "Value": limit, "Unit": "None", "Adjustable": true, "GlobalQuota": false,
    }}))
}

/// Filters other than type and region pass everything: there is one product of each.
fn products(shared: &Shared, asked: &Signed) -> Value {
    let body = asked.json();
    let filters = body["Filters"].as_array().cloned().unwrap_or_default();
    let wanted =
        |field: &str| filters.iter().find(|filter| filter["Field"] == field).map(|filter| filter["Value"].clone());
    let (kind, region) = (wanted("instanceType"), wanted("regionCode"));
    let prices = lock(&shared.prices);
    let fits = |((of, place), _): &(&(String, String), &String)| {
        kind.as_ref().is_none_or(|kind| kind == of) && region.as_ref().is_none_or(|region| region == place)
    };
    let list: Vec<Value> =
        prices.iter().filter(fits).map(|((kind, region), usd)| product(kind, region, usd).into()).collect();
    json!({"FormatVersion": "aws_v1", "PriceList": list})
}

/// In the shape of the price list: JSON in a string.
fn product(machine_type: &str, region: &str, usd: &str) -> String {
    let dimension = json!({"unit": "Hrs", "beginRange": "0", "endRange": "Inf", "appliesTo": [],
        "description": format!("${usd} per On Demand Linux {machine_type} Instance Hour"),
        "rateCode": "SKU.JRTCKXETXF.6YS6EN2CT7", "pricePerUnit": {"USD": usd}});
    let term = json!({"offerTermCode": "JRTCKXETXF", "sku": "SKU", "effectiveDate": "2026-11-01T00:00:00Z",
        "termAttributes": {}, "priceDimensions": {"SKU.JRTCKXETXF.6YS6EN2CT7": dimension}});
    let attributes = json!({"instanceType": machine_type, "regionCode": region, "operatingSystem": "Linux",
        "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"});
    json!({"product": {"productFamily": "Compute Instance", "sku": "SKU", "attributes": attributes},
        "serviceCode": "AmazonEC2", "version": "20261101000000", "publicationDate": "2026-11-01T00:00:00Z",
        "terms": {"OnDemand": {"SKU.JRTCKXETXF": term}}})
    .to_string()
}

fn parameter(shared: &Shared, asked: &Signed) -> Result<Value, Refusal> {
    let name = asked.json()["Name"].clone();
    let image = lock(&shared.image).clone().filter(|_| name == IMAGE_PARAMETER);
    let image = image.ok_or_else(|| Refusal::new(400, "ParameterNotFound", "there is no such parameter"))?;
    let arn = format!("arn:aws:ssm:{}::parameter{IMAGE_PARAMETER}", asked.region);
    Ok(json!({"Parameter": {"Name": name, "Type": "String", "Value": image, "Version": 128, "ARN": arn,
        "LastModifiedDate": 1_790_000_000.5, "DataType": "aws:ec2:image"}}))
}

/// EC2's answer to `DescribeSpotPriceHistory`, for [`crate::proxy::Proxy::answer_with`]: moto's prices are all the same and
/// twenty years old. Type, zone, dollars an hour.
pub fn spot_prices(prices: &[(&str, &str, &str)]) -> String {
    let item = |(kind, zone, usd): &(&str, &str, &str)| {
        format!(
            "<item><instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription><spotPrice>{usd}\
             </spotPrice><timestamp>2026-11-24T00:00:00.000Z</timestamp><availabilityZone>{zone}</availabilityZone></item>"
        )
    };
    ec2_answer("DescribeSpotPriceHistory", "spotPriceHistorySet", prices.iter().map(item).collect())
}

/// EC2's answer to `DescribeInstanceTypeOfferings` by zone: type and zone. moto's list lacks G6 outside the USA.
pub fn zone_offerings(offered: &[(&str, &str)]) -> String {
    let item = |(kind, zone): &(&str, &str)| {
        format!(
            "<item><instanceType>{kind}</instanceType><locationType>availability-zone</locationType>\
             <location>{zone}</location></item>"
        )
    };
    ec2_answer("DescribeInstanceTypeOfferings", "instanceTypeOfferingSet", offered.iter().map(item).collect())
}

fn ec2_answer(operation: &str, set: &str, items: String) -> String {
    format!(
        "<{operation}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>overlay</requestId>\
         <{set}>{items}</{set}></{operation}Response>"
    )
}
