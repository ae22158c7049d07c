//! With the feature `cuda`: compiles the GPU's kernels, and what stands in for NVIDIA's libraries
//! when scVAE is linked. Without it there is nothing to do.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: &str = "src/kernels/cuda";
const FORWARDERS: &str = "src/cuda_forwarders";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for path in [KERNELS, FORWARDERS] {
        println!("cargo::rerun-if-changed={path}");
    }
    for variable in ["CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    assert_eq!(
        env::var("CARGO_CFG_TARGET_OS").as_deref(),
        Ok("linux"),
        "the feature `cuda` is for Linux"
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    kernels(&out);
    forwarders(&out.join("forwarders"));
}

/// Compiles every `NAME.cu` to `NAME.ptx`, which the driver compiles for the GPU that it finds.
fn kernels(out: &Path) {
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    // A GPU older than this cannot run the kernels.
    println!("cargo::rustc-env=SCVAE_COMPUTE_CAPABILITY={capability}");
    for entry in fs::read_dir(KERNELS).into_iter().flatten() {
        let source = entry.unwrap().path();
        if source
            .extension()
            .is_some_and(|extension| extension == "cu")
        {
            let ptx = out.join(source.file_stem().unwrap()).with_extension("ptx");
            run(nvcc()
                .args(["--ptx", "-O3", "-std=c++17", "-I", KERNELS])
                .arg(format!("-arch=compute_{capability}"))
                .arg(source)
                .arg("-o")
                .arg(ptx));
        }
    }
}

/// cudarc and candle-kernels ask the linker for NVIDIA's libraries. Archives of their names are
/// found first: one with the forwarders of src/cuda_forwarders, the others empty. The moe kernels
/// of candle and the CUDA runtime that only they need are left out so, as nothing calls them.
fn forwarders(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let archive = folder.join("libscvae_cuda.a");
    run(nvcc()
        .args(["--lib", "-O2", "-Xcompiler", "-fPIC,-Wall,-Wextra"])
        .arg(format!("-DSCVAE_CUDA_VERSION={}", cuda_version()))
        .arg(format!("{FORWARDERS}/forwarders.c"))
        .arg("-o")
        .arg(&archive));
    fs::copy(&archive, folder.join("libcuda.a")).unwrap();
    for name in ["cublas", "cublasLt", "curand", "nvrtc", "cudart", "moe"] {
        fs::write(folder.join(format!("lib{name}.a")), "!<arch>\n").unwrap();
    }
    println!("cargo::rustc-link-search=native={}", folder.display());
    // Becomes part of libscvae.a too, which R links.
    println!("cargo::rustc-link-lib=static=scvae_cuda");
    println!("cargo::rustc-link-lib=dl");
}

/// The toolkit's version as the driver counts it: 13000 for CUDA 13.0.
fn cuda_version() -> u32 {
    let text = run(nvcc().arg("--version"));
    let numbers = text
        .split("release ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let version = numbers.and_then(|numbers| {
        let (major, minor) = numbers.split_once('.')?;
        Some(1000 * major.parse::<u32>().ok()? + 10 * minor.parse::<u32>().ok()?)
    });
    version.unwrap_or_else(|| panic!("nvcc --version does not name a release:\n{text}"))
}

fn nvcc() -> Command {
    match env::var_os("CUDA_HOME") {
        Some(home) => Command::new(Path::new(&home).join("bin/nvcc")),
        None => Command::new("nvcc"),
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{}: {error}. The feature `cuda` needs NVIDIA's compiler: put it on PATH, or name the \
             toolkit's folder in CUDA_HOME.",
            command.get_program().to_string_lossy()
        )
    });
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed:\n{stdout}{stderr}"
    );
    stdout
}
