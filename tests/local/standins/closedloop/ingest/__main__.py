from standin import main

main("ingest")
