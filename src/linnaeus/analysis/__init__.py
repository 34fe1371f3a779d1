"""Analysis: what is wrong with the data, found from pixels, labels and files. Shows nothing; `report` does that."""
