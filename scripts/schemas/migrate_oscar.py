"""The shop, all of its applications."""

import database
import django
from django.conf import settings
from django.core.management import call_command
from oscar import defaults

APPS = """
django.contrib.admin django.contrib.auth django.contrib.contenttypes django.contrib.sessions
django.contrib.messages django.contrib.staticfiles django.contrib.sites django.contrib.flatpages
oscar.config.Shop oscar.apps.analytics.apps.AnalyticsConfig oscar.apps.checkout.apps.CheckoutConfig
oscar.apps.address.apps.AddressConfig oscar.apps.shipping.apps.ShippingConfig
oscar.apps.catalogue.apps.CatalogueConfig
oscar.apps.catalogue.reviews.apps.CatalogueReviewsConfig
oscar.apps.communication.apps.CommunicationConfig oscar.apps.partner.apps.PartnerConfig
oscar.apps.basket.apps.BasketConfig oscar.apps.payment.apps.PaymentConfig
oscar.apps.offer.apps.OfferConfig oscar.apps.order.apps.OrderConfig
oscar.apps.customer.apps.CustomerConfig oscar.apps.search.apps.SearchConfig
oscar.apps.voucher.apps.VoucherConfig oscar.apps.wishlists.apps.WishlistsConfig
oscar.apps.dashboard.apps.DashboardConfig
oscar.apps.dashboard.catalogue.apps.CatalogueDashboardConfig
oscar.apps.dashboard.communications.apps.CommunicationsDashboardConfig
oscar.apps.dashboard.offers.apps.OffersDashboardConfig
oscar.apps.dashboard.orders.apps.OrdersDashboardConfig
oscar.apps.dashboard.pages.apps.PagesDashboardConfig
oscar.apps.dashboard.partners.apps.PartnersDashboardConfig
oscar.apps.dashboard.ranges.apps.RangesDashboardConfig
oscar.apps.dashboard.reports.apps.ReportsDashboardConfig
oscar.apps.dashboard.reviews.apps.ReviewsDashboardConfig
oscar.apps.dashboard.shipping.apps.ShippingDashboardConfig
oscar.apps.dashboard.users.apps.UsersDashboardConfig
oscar.apps.dashboard.vouchers.apps.VouchersDashboardConfig
widget_tweaks haystack treebeard sorl.thumbnail django_tables2
""".split()

settings.configure(
    **{key: getattr(defaults, key) for key in dir(defaults) if key.isupper()},
    DATABASES=database.django(),
    HAYSTACK_CONNECTIONS={"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}},
    INSTALLED_APPS=APPS,
    ROOT_URLCONF="oscar",
    SECRET_KEY="not used",
    SITE_ID=1,
)
django.setup()
call_command("migrate", verbosity=0)
