/* log_zinb_positive() of scvi-tools and its derivatives in one pass over the values: one_pass.py.
 * Compile with -ffast-math, by which the first loop is vectorised. */
#include <math.h>

/* log(gamma(x + theta) / gamma(theta) / gamma(x + 1)) of a whole x */
static double log_ratio(float x, double theta) {
  if (x >= 32) return lgamma(x + theta) - lgamma(theta) - lgamma(x + 1.);
  double product = 1;
  for (int k = 0; k < (int)x; k++) product *= (theta + k) / (k + 1);
  return log(product);
}

/* digamma(x + theta) - digamma(theta) of a whole x */
static float digamma_difference(float x, float theta) {
  double sum = 0, t = theta;
  if (x < 64) {
    for (int k = 0; k < (int)x; k++) sum += 1 / (t + k);
    return (float)sum;
  }
  for (; t < 8; t++) sum += 1 / t;
  double ends[2] = {(double)x + theta, t}, psi[2];
  for (int i = 0; i < 2; i++) {
    double y = ends[i], r = 1 / (y * y);
    psi[i] = log(y) - .5 / y - r * (1. / 12 - r * (1. / 120 - r / 252));
  }
  return (float)(psi[0] - psi[1] + sum);
}

void zinb_pass(long n, const float *restrict x, const float *restrict mu, const float *restrict theta,
               const float *restrict pi, float *restrict value, float *restrict d_mu, float *restrict d_theta,
               float *restrict d_pi) {
  const float eps = 1e-8f;
  for (long i = 0; i < n; i++) {
    float both = theta[i] + mu[i] + eps, slope = logf(theta[i] + eps) - logf(both);
    float t = -pi[i] + theta[i] * slope;
    float e_t = expf(-fabsf(t)), e_pi = expf(-fabsf(pi[i]));
    float softplus_t = (t > 0 ? t : 0) + logf(1 + e_t);
    float softplus_pi = (pi[i] < 0 ? -pi[i] : 0) + logf(1 + e_pi);
    float sigma_t = (t > 0 ? 1 : e_t) / (1 + e_t), sigma_pi = (pi[i] < 0 ? 1 : e_pi) / (1 + e_pi);
    value[i] = softplus_t - softplus_pi;
    d_mu[i] = -sigma_t * theta[i] / both;
    d_theta[i] = sigma_t * (slope + theta[i] * (1 / (theta[i] + eps) - 1 / both));
    d_pi[i] = sigma_pi - sigma_t;
  }
  for (long i = 0; i < n; i++) {
    if (x[i] < eps) continue;
    double th = theta[i], both = th + mu[i] + eps, slope = log(th + eps) - log(both);
    double sp = pi[i] < 0 ? -pi[i] + log1p(exp(pi[i])) : log1p(exp(-pi[i]));
    value[i] = (float)(-sp - pi[i] + th * slope + x[i] * (log(mu[i] + (double)eps) - log(both)) +
                       log_ratio(x[i], th));
    d_mu[i] = (float)(-th / both + x[i] / (mu[i] + (double)eps) - x[i] / both);
    d_theta[i] = (float)(slope + th * (1 / (th + eps) - 1 / both) - x[i] / both) + digamma_difference(x[i], theta[i]);
    d_pi[i] = (float)(-1 + 1 / (1 + exp(pi[i])));
  }
}
