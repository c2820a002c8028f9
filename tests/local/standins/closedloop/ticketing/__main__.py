from standin import main

main("ticketing")
