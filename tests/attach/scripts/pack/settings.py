EPOCHS = (1, 2, 3)
