//! What to run where, and what it needs: the model catalogue and the memory arithmetic. Pure: no file, no network.
//!
//! ```text
//! "70b-int8" -> Catalogue::find -> Entry (facts, file) -> MemoryNeed -> fits?
//!                                                               -> fit on N GPUs of an offer, tokens a second
//!                                                               -> place (wish, budget, packs) -> ResolvedMachine
//!            -> Catalogue::resolve -> ModelChoice with the WeightsSpec to fetch
//! ```

pub mod catalogue;
pub mod cost;
pub mod fit;
pub mod gguf;
pub mod memory;
pub mod model;
mod network;
pub mod offers;
pub mod packs;
pub mod place;
pub mod throughput;

pub use catalogue::{Catalogue, CatalogueError, Entry, ModelChoice, ResolveError, catalogue};
pub use cost::{MonthlyTotal, Rates, RatesError, monthly_total};
pub use fit::{Fit, fit};
pub use gguf::FileType;
pub use memory::{CacheType, MemoryNeed, Shortfall, Workload};
pub use model::{Architecture, Model, Quantization, WeightsFile};
pub use offers::{Offers, OffersError, offers};
pub use packs::Violation;
pub use place::{Ask, Current, PlaceError, cheapest, place};
