"""What was asked: the recipe and its sections; knows no folder and no store."""
