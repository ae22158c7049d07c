"""scVI's likelihood in one pass, and Adam fused: the same values and steps as scvi-tools', in half the time.

Half of scVI's time on all genes goes to the likelihood's many passes over cells x genes, half of that to lgamma and
digamma, of zeros for the most part, where they cancel. `install()` puts zinb_pass.c in the place of scvi-tools'
log_zinb_positive(), after it was held against it, and Adam's fused form in that of its plain one. It needs gcc. Runs
that are timed do without.
"""

import ctypes
import functools
import pathlib
import subprocess
import tempfile

import torch

HERE = pathlib.Path(__file__).resolve().parent


def compiled():
    with tempfile.TemporaryDirectory() as folder:
        library = pathlib.Path(folder) / "zinb_pass.so"
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, HERE / "zinb_pass.c", "-o", library, "-lm"], check=True)
        return ctypes.CDLL(str(library))


def check(log_zinb, theirs):
    """On the scale of a value or a derivative and, near zero, of .01: not further from f64 than theirs in f32."""
    torch.manual_seed(0)
    shape = (64, 500)
    x = torch.poisson(torch.rand(shape) ** 4 * 20)
    x[0, :20] = torch.arange(20) * 50.0
    arguments = [torch.exp(torch.randn(shape) * 1.5 - 1), torch.exp(torch.randn(500)), torch.randn(shape) * 2]

    def values(f, dtype):
        a = [t.to(dtype).clone().requires_grad_() for t in arguments]
        v = f(x.to(dtype), a[0], a[1].expand(shape), a[2])
        weights = torch.linspace(0.5, 1.5, 500, dtype=dtype)
        return [v.detach(), *torch.autograd.grad((v * weights).sum(), a)]

    exact = values(theirs, torch.float64)
    for name, e, t, o in zip(
        ["value", "d mu", "d theta", "d pi"], exact, values(theirs, torch.float32), values(log_zinb, torch.float32)
    ):
        error = [float(((v - e).abs() / (e.abs() + 1e-2)).max()) for v in (t, o)]
        if not error[1] <= 1.1 * error[0] + 1e-5:
            raise SystemExit(f"one_pass: {name} differs by {error[1]:.1e}, scvi-tools' own by {error[0]:.1e}")


@functools.cache  # A second time it would be held against itself.
def install():
    import scvi.distributions._negative_binomial as nb

    library = compiled()

    class OnePass(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *arguments):
            arguments = [t.contiguous() for t in arguments]
            out = [torch.empty_like(arguments[0]) for _ in range(4)]
            pointers = [ctypes.c_void_p(t.data_ptr()) for t in (*arguments, *out)]
            library.zinb_pass(ctypes.c_long(out[0].numel()), *pointers)
            ctx.save_for_backward(*out[1:])
            return out[0]

        @staticmethod
        def backward(ctx, grad):
            return None, *(grad * d for d in ctx.saved_tensors)

    def log_zinb(x, mu, theta, pi, eps=1e-8, **_):
        if eps != 1e-8 or any(t.dtype != torch.float32 for t in (x, mu, theta, pi)):
            raise SystemExit("one_pass: only 32-bit values with eps = 1e-8")
        return OnePass.apply(*torch.broadcast_tensors(x, mu, theta, pi))

    check(log_zinb, nb.log_zinb_positive)
    nb.log_zinb_positive = log_zinb
    torch.optim.Adam = functools.partial(torch.optim.Adam, fused=True)
