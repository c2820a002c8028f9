from standin import main

main("recovery")
