/* R calls R_init_<package> when it loads the library; the functions themselves are in Rust. */

void register_extendr_panic_hook(void);
void R_init_scvae_extendr(void *dll);

void R_init_scVAE(void *dll) {
  /* First, so that no panic is printed by Rust before it becomes an R error. */
  register_extendr_panic_hook();
  R_init_scvae_extendr(dll);
}
