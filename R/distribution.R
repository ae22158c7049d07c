#' The distribution of the counts
#'
#' Probability of counts under the zero-inflated negative binomial that the model fits: with
#' probability `px_dropout` an extra zero, else a negative binomial of mean `px_rate` and inverse
#' dispersion `px_r`, the `mu` and `size` of [stats::dnbinom()].
#'
#' The values come from the reference implementation (double precision) against which the training's
#' fast one is tested.
#'
#' @param x Counts.
#' @param px_rate Means of the negative binomial, above 0.
#' @param px_r Inverse dispersions, above 0.
#' @param px_dropout Probabilities of an extra zero, from 0 to below 1. With 0 this is the negative
#'   binomial.
#' @param log Return logarithms.
#' @return A numeric vector; shorter arguments are recycled to the length of the longest.
#' @references Lopez et al. 2018, Nature Methods 15:1053.
#' @examples
#' dzinb(0:3, px_rate = 1.5, px_r = 2)
#' stats::dnbinom(0:3, mu = 1.5, size = 2)
#' dzinb(0:3, px_rate = 1.5, px_r = 2, px_dropout = 0.3)
#' @export
dzinb <- function(x, px_rate, px_r, px_dropout = 0, log = FALSE) {
  call <- rlang::current_env()
  check_flag(log, "log", call)
  whole <- "finite whole numbers, 0 or above"
  check_range(x, "x", x >= 0 & x == round(x) & is.finite(x), whole, call)
  check_range(px_rate, "px_rate", px_rate > 0 & is.finite(px_rate), "above 0", call)
  check_range(px_r, "px_r", px_r > 0 & is.finite(px_r), "above 0", call)
  check_range(
    px_dropout, "px_dropout", px_dropout >= 0 & px_dropout < 1, "at least 0 and below 1", call
  )
  arguments <- list(x, px_rate, px_r, px_dropout)
  n <- if (all(lengths(arguments) > 0)) max(lengths(arguments)) else 0
  arguments <- lapply(arguments, function(values) rep_len(as.numeric(values), n))
  value <- rust_call(do.call(rs_log_probability, arguments), call)
  if (log) value else exp(value)
}

check_range <- function(values, name, holds, range, call) {
  # Before `holds`, which compares numbers.
  if (!is.numeric(values)) {
    value <- describe(values)
    abort_scvae(
      c("{.arg {name}} must be {range}, not {value}.", i = "Give a numeric vector."),
      "argument",
      call
    )
  }
  wrong <- which(is.na(holds) | !holds)
  if (length(wrong) > 0) {
    abort_scvae(
      "{.arg {name}} must be {range}, not {.val {values[wrong[1]]}}.",
      "argument",
      call
    )
  }
}
