
// Training itself remembers the cells here.
fn remember_cells(_: &mut Trained, _: &CountsView, _: &[usize]) {}

fn map_all(_: &mut SavedModel, _: &CountsView, _: &Settings) {
    panic!("no mapped model is frozen of this version")
}
