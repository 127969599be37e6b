namespace Cowork.Application.Tests;

/// <summary>Real rows of the airports of vega-datasets (US Bureau of Transportation Statistics, public domain).</summary>
static class Airports
{
    public const string Csv =
        """
        iata,name,city,state,country,latitude,longitude
        00M,Thigpen,Bay Springs,MS,USA,31.95376472,-89.23450472
        00R,Livingston Municipal,Livingston,TX,USA,30.68586111,-95.01792778
        ANC,Ted Stevens Anchorage International,Anchorage,AK,USA,61.17432028,-149.9961856
        BRW,Wiley Post Will Rogers Memorial,Barrow,AK,USA,71.2854475,-156.7660019
        DFW,Dallas-Fort Worth International,Dallas-Fort Worth,TX,USA,32.89595056,-97.0372
        IND,Indianapolis International,Indianapolis,IN,USA,39.71732917,-86.29438417
        JFK,John F Kennedy Intl,New York,NY,USA,40.63975111,-73.77892556
        LGA,LaGuardia,New York,NY,USA,40.77724306,-73.87260917
        ORD,Chicago O'Hare International,Chicago,IL,USA,41.979595,-87.90446417
        WDR,Winder-Barrow,Winder,GA,USA,33.98290194,-83.66736111
        """;
}
