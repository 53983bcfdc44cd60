"""The cases of `bench transport`: each is a function that runs in its own process."""
