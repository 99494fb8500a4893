"""A run or a store on one page of HTML that needs no network."""
