# What the plots have in common: colours, theme, points and names beside them.

# The palette of Okabe and Ito (2008) without its yellow, which is lost on white, and with grey in
# place of black, which is for text. Then colours that are as far as possible from all before them,
# in CIELAB, for whoever sees all colours and for whoever sees no red or no green (Machado et al.
# 2009).
group_colours <- c(
  "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#555555", "#553300",
  "#AADD88", "#0077EE", "#003399", "#EECCCC", "#443366", "#886633", "#CCDD66", "#99DDFF",
  "#2299EE", "#AA9955", "#665577", "#FF8899", "#445533", "#22BBCC", "#4455BB", "#DD5566"
)

# Beyond 24 groups colours come again: names in the plot tell the groups apart then.
colours_of <- function(n) rep_len(group_colours, n)

highlight <- "#D55E00"
quiet <- "grey60"

theme_scvae <- function() {
  ggplot2::theme_minimal(base_size = 12) +
    ggplot2::theme(
      panel.grid.minor = ggplot2::element_blank(),
      plot.title.position = "plot",
      plot.title = ggplot2::element_text(face = "bold", size = 13),
      plot.subtitle = ggplot2::element_text(colour = "grey30"),
      strip.text = ggplot2::element_text(face = "bold", hjust = 0, size = 11),
      legend.position = "top",
      legend.justification = "left",
      legend.margin = ggplot2::margin()
    )
}

# The axes of a UMAP have no unit, and their ends no meaning.
theme_map <- function() {
  theme_scvae() +
    ggplot2::theme(
      aspect.ratio = 1,
      axis.text = ggplot2::element_blank(),
      panel.grid = ggplot2::element_blank(),
      panel.border = ggplot2::element_rect(colour = "grey80", fill = NA),
      legend.position = "right"
    )
}

# Points that neither hide each other nor get lost.
point_size <- function(n) min(1.8, max(0.15, 45 / sqrt(n)))

# Names beside points, without overlaps where ggrepel is installed.
layer_names <- function(data, mapping, size = 3.5, colour = "grey10", ...) {
  if (!has_package("ggrepel")) {
    return(ggplot2::geom_text(
      mapping,
      data = data, size = size, colour = colour, inherit.aes = FALSE, vjust = -0.5
    ))
  }
  ggrepel::geom_text_repel(
    mapping,
    data = data, size = size, colour = colour, inherit.aes = FALSE, bg.color = "white",
    bg.r = 0.15, max.overlaps = Inf, seed = 1, min.segment.length = 0.4,
    segment.colour = "grey50", ...
  )
}

has_package <- function(package) requireNamespace(package, quietly = TRUE)

# Ticks of a logarithmic axis as they are read.
plain_numbers <- function(x) {
  vapply(x, format, "", scientific = FALSE, drop0trailing = TRUE, big.mark = ",", digits = 3)
}

big_number <- function(n) format(n, big.mark = ",", scientific = FALSE, trim = TRUE)
