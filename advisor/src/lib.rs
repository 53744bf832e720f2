//! What to run where, and what it needs: the model catalogue and the memory arithmetic. Pure: no file, no network.
//!
//! ```text
//! "70b-int8" -> Catalogue::find -> Entry (facts, file) -> MemoryNeed -> fits?
//!                                                               -> fit on N GPUs of an offer, tokens a second
//!            -> Catalogue::resolve -> ModelChoice with the WeightsSpec to fetch
//! ```

pub mod catalogue;
pub mod fit;
pub mod gguf;
pub mod memory;
pub mod model;
pub mod offers;
pub mod throughput;

pub use catalogue::{Catalogue, CatalogueError, Entry, ModelChoice, ResolveError, catalogue};
pub use fit::{Fit, fit};
pub use gguf::FileType;
pub use memory::{CacheType, MemoryNeed, Shortfall, Workload};
pub use model::{Architecture, Model, Quantization, WeightsFile};
pub use offers::{Offers, OffersError, offers};
