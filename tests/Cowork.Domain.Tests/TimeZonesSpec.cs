using Xunit;

namespace Cowork.Domain.Tests;

public sealed class TimeZonesSpec
{
    [Theory]
    [InlineData("UTC")]
    [InlineData("Europe/Berlin")]
    [InlineData("America/Argentina/Buenos_Aires")]
    [InlineData("America/Port-au-Prince")]
    [InlineData("Etc/GMT+12")]
    public void A_zone_is_found_by_its_name(string name) => Assert.NotNull(TimeZones.Find(name));

    [Theory]
    [InlineData("")]
    [InlineData("Mars/Olympus_Mons")]
    [InlineData("W. Europe Standard Time")]
    [InlineData("Europe")] // a directory
    [InlineData("tzdata.zi")]
    [InlineData("leapseconds")]
    [InlineData("localtime")]
    [InlineData("right/UTC")]
    [InlineData("/etc/localtime")]
    [InlineData("/dev/zero")]
    [InlineData("../../../etc/localtime")]
    [InlineData("Europe/../UTC")]
    [InlineData("Europe//Berlin")]
    [InlineData("Europe/Berlin\0")]
    [InlineData("Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    public void What_is_no_zone_is_not_found(string name) => Assert.Null(TimeZones.Find(name));
}
